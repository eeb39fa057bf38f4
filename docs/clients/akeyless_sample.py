"""The Python sample that Akeyless publishes for its certificate challenge, as it stands there but for its four inputs, which come from the
environment: PORTCULLIS_GATEWAY, ACCESS_ID, CERT, KEY. It runs unchanged against a Portcullis gateway; `scripts/clients` sees to that.
"""

import base64
import os
from pathlib import Path
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, ec, rsa
from cryptography.hazmat.backends import default_backend
import akeyless
from akeyless.rest import ApiException


def load_private_key(pem_path: str):
    pem = Path(pem_path).read_bytes()
    return serialization.load_pem_private_key(pem, password=None, backend=default_backend())


def sign_challenge(priv_key, challenge_bytes: bytes) -> bytes:
    # Hash is SHA-256 in both cases
    if isinstance(priv_key, rsa.RSAPrivateKey):
        return priv_key.sign(
            challenge_bytes,
            padding.PKCS1v15(),  # matches app's standard path
            hashes.SHA256(),
        )
    elif isinstance(priv_key, ec.EllipticCurvePrivateKey):
        return priv_key.sign(
            challenge_bytes,
            ec.ECDSA(hashes.SHA256()),  # ASN.1 DER signature
        )
    else:
        raise ValueError("Unsupported private key type (use RSA or EC)")


def main():
    # Required inputs
    gateway_url = os.environ["PORTCULLIS_GATEWAY"] + "/api/v2"
    access_id = os.environ["ACCESS_ID"]
    cert_path = os.environ["CERT"]
    key_path = os.environ["KEY"]

    # 1) SDK client
    cfg = akeyless.Configuration()
    cfg.host = gateway_url
    api = akeyless.V2Api(akeyless.ApiClient(cfg))

    try:
        # 2) Read certificate and base64-encode it
        cert_b64 = base64.b64encode(Path(cert_path).read_bytes()).decode("ascii")

        # 3) Get challenge
        chal_body = akeyless.GetCertChallenge(access_id=access_id, cert_data=cert_b64)
        chal_out = api.get_cert_challenge(chal_body)
        challenge_b64 = chal_out.challenge
        if not challenge_b64:
            raise RuntimeError("Empty challenge received")

        # 4) Load key and sign the challenge (SHA-256, RSA PKCS#1 v1.5 or ECDSA)
        priv_key = load_private_key(key_path)
        challenge_bytes = base64.b64decode(challenge_b64)
        signature = sign_challenge(priv_key, challenge_bytes)
        signed_b64 = base64.b64encode(signature).decode("ascii")

        # 5) Authenticate with signed challenge
        auth_body = akeyless.Auth(
            access_type="cert",
            access_id=access_id,
            cert_data=cert_b64,
            cert_challenge=challenge_b64,
            signed_cert_challenge=signed_b64,
        )
        auth_out = api.auth(auth_body)
        print(f"Token: {auth_out.token}")
    except ApiException as e:
        print(f"API error: {e}")
        if e.body:
            print(e.body)
    except Exception as e:
        print(f"Error: {e}")


if __name__ == "__main__":
    main()
