"""Gets a token with the standard library and `cryptography`; prints it.

Environment: PORTCULLIS_GATEWAY, ACCESS_ID, CERT, KEY, maybe CACERT.
"""

import base64
import json
import os
import ssl
import sys
import urllib.request
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

PREFIX = b"portcullis-cert-challenge-v1\0"
GATEWAY = os.environ["PORTCULLIS_GATEWAY"].rstrip("/")


def call(name, body):
    request = urllib.request.Request(
        f"{GATEWAY}/api/v2/{name}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    context = ssl.create_default_context(cafile=os.environ.get("CACERT"))
    with urllib.request.urlopen(request, context=context) as answer:
        return json.load(answer)


def check(challenge):
    """Nothing is signed but a challenge, and of the gateway that was dialled."""
    if not challenge.startswith(PREFIX):
        sys.exit("not a challenge: not signed")
    rest = challenge[len(PREFIX):]
    length = int.from_bytes(rest[:2], "big")
    origin = rest[2:2 + length].decode("ascii")
    if origin != GATEWAY:
        sys.exit(f"a challenge of {origin}, not of {GATEWAY}: not signed")


def sign(key, challenge):
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(challenge, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(challenge, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(challenge)
    sys.exit("a key that is neither RSA, nor EC, nor Ed25519")


def main():
    who = {
        "access-id": os.environ["ACCESS_ID"],
        "cert-data": base64.b64encode(Path(os.environ["CERT"]).read_bytes()).decode(),
    }
    challenge = call("get-cert-challenge", who)["challenge"]
    octets = base64.b64decode(challenge)
    check(octets)
    key = serialization.load_pem_private_key(Path(os.environ["KEY"]).read_bytes(), password=None)
    answer = call("auth", {
        **who,
        "access-type": "cert",
        "cert-challenge": challenge,
        "signed-cert-challenge": base64.b64encode(sign(key, octets)).decode(),
    })
    print(answer["token"])


main()
