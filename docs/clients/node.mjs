// Gets a token with what Node.js has; prints it. Environment: PORTCULLIS_GATEWAY, ACCESS_ID, CERT, KEY, maybe CACERT.
// With --p1363 ECDSA signatures are r and s of a fixed width, as .NET's SignData makes them.
import { createPrivateKey, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:https";

const { PORTCULLIS_GATEWAY, ACCESS_ID, CERT, KEY, CACERT } = process.env;
const origin = new URL(PORTCULLIS_GATEWAY).origin;

function call(name, body) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, ca: CACERT && readFileSync(CACERT) };
  return new Promise((resolve, reject) => {
    const sent = request(`${origin}/api/v2/${name}`, options, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => {
        const text = Buffer.concat(parts).toString();
        answer.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(`${answer.statusCode} ${text}`));
      });
    });
    sent.on("error", reject);
    sent.end(JSON.stringify(body));
  });
}

// Nothing is signed but a challenge, and of the gateway that was dialled.
function check(challenge) {
  const prefix = Buffer.from("portcullis-cert-challenge-v1\0");
  if (!challenge.subarray(0, prefix.length).equals(prefix)) throw new Error("not a challenge: not signed");
  const length = challenge.readUInt16BE(prefix.length);
  const named = challenge.subarray(prefix.length + 2, prefix.length + 2 + length).toString();
  if (named !== origin) throw new Error(`a challenge of ${named}, not of ${origin}: not signed`);
}

const who = { "access-id": ACCESS_ID, "cert-data": readFileSync(CERT).toString("base64") };
const { challenge } = await call("get-cert-challenge", who);
const bytes = Buffer.from(challenge, "base64");
check(bytes);
const key = createPrivateKey(readFileSync(KEY));
const algorithm = key.asymmetricKeyType === "ed25519" ? null : "sha256";
const dsaEncoding = process.argv.includes("--p1363") ? "ieee-p1363" : "der";
const signature = sign(algorithm, bytes, { key, dsaEncoding }).toString("base64");
const { token } = await call("auth", {
  ...who,
  "access-type": "cert",
  "cert-challenge": challenge,
  "signed-cert-challenge": signature,
});
console.log(token);
