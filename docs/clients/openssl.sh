#!/usr/bin/env bash
# Gets a token with curl and openssl; prints it. Environment: PORTCULLIS_GATEWAY, ACCESS_ID, CERT, KEY, maybe CACERT.
set -euo pipefail
gateway=${PORTCULLIS_GATEWAY%/}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

call() {
  curl -sS --fail-with-body ${CACERT:+--cacert "$CACERT"} -H 'Content-Type: application/json' -d @- "$gateway/api/v2/$1"
}

# The values are base64 and the like: no character that JSON escapes.
value() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

data=$(base64 < "$CERT" | tr -d '\n')
challenge=$(printf '{"access-id":"%s","cert-data":"%s"}' "$ACCESS_ID" "$data" | call get-cert-challenge | value challenge)
printf '%s' "$challenge" | openssl base64 -d -A > "$work/challenge"

# Nothing is signed but a challenge, and of the gateway that was dialled.
[ "$(head -c 28 "$work/challenge")" = portcullis-cert-challenge-v1 ] || { echo "not a challenge: not signed" >&2; exit 1; }
length=$((16#$(tail -c +30 "$work/challenge" | head -c 2 | od -An -tx1 | tr -d ' \n')))
origin=$(tail -c +32 "$work/challenge" | head -c "$length")
[ "$origin" = "$gateway" ] || { echo "a challenge of $origin, not of $gateway: not signed" >&2; exit 1; }

openssl dgst -sha256 -sign "$KEY" -out "$work/signature" "$work/challenge"
printf '{"access-type":"cert","access-id":"%s","cert-data":"%s","cert-challenge":"%s","signed-cert-challenge":"%s"}' \
  "$ACCESS_ID" "$data" "$challenge" "$(openssl base64 -A < "$work/signature")" | call auth | value token | cut -d '"' -f 1
