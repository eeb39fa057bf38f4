"""Methods of authentication by certificate, managed with Akeyless's published Python client: what it sends is understood, and what is
answered is what its models expect. Run by scripts/akeyless."""

import base64
import json
import pathlib
import subprocess
import sys
import tempfile

import akeyless
from akeyless.rest import ApiException

CONFIG = """
[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["admin", "challenge"]
tokens = true
certificates = [{ cert = "server.pem", key = "server.key" }]

[[principal]]
name = "operator"
id = "p-operatorxxxx"
clearance = "operator"
certificates = ["operator.pem"]
"""


def certificate(work, name, *extensions):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    for extension in extensions:
        command += ["-addext", extension]
    subprocess.run(command, cwd=work, check=True, capture_output=True)
    (work / f"{name}.key").chmod(0o600)
    return base64.b64encode((work / f"{name}.pem").read_bytes()).decode()


def port(proxy):
    """Reads the log until it says where the proxy listens."""
    for line in proxy.stderr:
        told = json.loads(line)
        if told.get("listener") == "control" and "address" in told:
            return told["address"].rsplit(":", 1)[1]
    raise SystemExit("the proxy ended")


def refused(status, words, call, body):
    try:
        call(body)
    except ApiException as refusal:
        assert refusal.status == status and words in json.loads(refusal.body)["error"], refusal
    else:
        raise AssertionError(f"not refused: {body}")


def manage(api, ca, client, unclear):
    made = api.auth_method_create_cert(akeyless.AuthMethodCreateCert(
        name="/ci/pipelines", unique_identifier="common_name", certificate_data=ca, bound_common_names=["pipeline-*"],
        bound_organizational_units=["DevOps"], bound_ips=["192.0.2.0/24"], allowed_cors="https://a.example,https://b.example",
        audit_logs_claims=["common_name"], revoked_cert_ids=["serial:2AFD1E75"], access_expires=4102444800, jwt_ttl=30,
        expiration_event_in=["30", "7"], require_crl_dp=True, force_sub_claims=True, delete_protection="true", description="Builds"))
    assert made.access_id.startswith("p-") and made.name == "/ci/pipelines", made

    method = api.auth_method_get(akeyless.AuthMethodGet(name="/ci/pipelines"))
    info, rules = method.access_info, method.access_info.cert_access_rules
    assert (method.auth_method_access_id, method.auth_method_name) == (made.access_id, "/ci/pipelines"), method
    assert (method.delete_protection, method.description, method.creation_date.tzinfo is not None) == (True, "Builds", True), method
    assert [event.seconds_before for event in method.expiration_events] == [2592000, 604800], method
    assert (info.rules_type, info.access_expires, info.jwt_ttl, info.force_sub_claims) == ("cert", 4102444800, 30, True), info
    assert (info.cidr_whitelist, info.audit_logs_claims) == ("192.0.2.0/24", ["common_name"]), info
    assert (rules.bound_common_names, rules.bound_organizational_units, rules.bound_dns_sans) == (["pipeline-*"], ["DevOps"], []), rules
    assert (rules.unique_identifier, rules.require_crl_dp, rules.revoked_cert_ids) == ("common_name", True, ["serial:2AFD1E75"]), rules
    assert rules.allowed_cors == ["https://a.example", "https://b.example"] and rules.certificate == ca, rules

    # The client says 0 of what nobody spoke of: nothing that restricts falls away by that.
    changed = api.auth_method_update_cert(akeyless.AuthMethodUpdateCert(
        name="/ci/pipelines", new_name="/build/pipelines", unique_identifier="organizational_unit", bound_ips=[], delete_protection="false"))
    assert changed.name == "/build/pipelines", changed
    method = api.auth_method_get(akeyless.AuthMethodGet(name="/build/pipelines"))
    assert method.auth_method_access_id == made.access_id and not method.delete_protection, method
    assert (method.access_info.access_expires, method.access_info.jwt_ttl, method.access_info.cidr_whitelist) == (4102444800, 30, ""), method
    assert method.access_info.cert_access_rules.unique_identifier == "organizational_unit", method

    pin = api.auth_method_create_cert(akeyless.AuthMethodCreateCert(
        name="people/client", unique_identifier="common_name", certificate_data=client))
    listed = api.auth_method_list(akeyless.AuthMethodList(type=["cert"]))
    assert {one.auth_method_access_id for one in listed.auth_methods} == {made.access_id, pin.access_id}, listed
    assert listed.next_page is None, listed
    assert len(api.auth_method_list(akeyless.AuthMethodList(filter="/people/")).auth_methods) == 1

    create = lambda **more: akeyless.AuthMethodCreateCert(
        **{"name": "new", "unique_identifier": "common_name", "certificate_data": ca, **more})
    refused(409, "name_taken", api.auth_method_create_cert, create(name="people/client"))
    refused(409, "fingerprint_taken", api.auth_method_create_cert, create(certificate_data=client))
    refused(400, "no keyUsage", api.auth_method_create_cert, create(certificate_data=unclear))
    refused(400, "bound-ips[0]", api.auth_method_create_cert, create(bound_ips=["somewhere"]))
    refused(400, "product-type", api.auth_method_create_cert, create(product_type=["sm"]))
    refused(404, "not_found", api.auth_method_get, akeyless.AuthMethodGet(name="nobody"))

    assert api.auth_method_delete(akeyless.AuthMethodDelete(name="/build/pipelines")).name == "/build/pipelines"
    refused(404, "not_found", api.auth_method_delete, akeyless.AuthMethodDelete(name="/build/pipelines"))


def by_token(api, token):
    """No certificate: the token stands in the body, where the client has an argument for it."""
    assert api.validate_token(akeyless.ValidateToken(token=token)).is_valid
    claims = api.describe_sub_claims(akeyless.DescribeSubClaims(token=token)).sub_claims
    assert claims["access_id"] == ["p-operatorxxxx"], claims
    assert len(api.auth_method_list(akeyless.AuthMethodList(token=token)).auth_methods) == 1
    refused(401, "no_credential", api.auth_method_list, akeyless.AuthMethodList())
    refused(401, "token_invalid", api.auth_method_list, akeyless.AuthMethodList(token=token[:-4] + "AAAA"))
    # It has none for the token that is taken back.
    api.api_client.set_default_header("Authorization", f"Bearer {token}")
    api.revoke_creds()
    api.api_client.default_headers.pop("Authorization")
    assert not api.validate_token(akeyless.ValidateToken(token=token)).is_valid
    refused(401, "token_invalid", api.auth_method_list, akeyless.AuthMethodList(token=token))


def main():
    binary = sys.argv[1]
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        certificate(work, "server", "subjectAltName=DNS:localhost")
        certificate(work, "operator")
        ca = certificate(work, "ca", "keyUsage=critical,keyCertSign,cRLSign")
        client = certificate(work, "client", "basicConstraints=critical,CA:FALSE")
        unclear = certificate(work, "unclear")
        (work / "portcullis.toml").write_text(CONFIG)
        proxy = subprocess.Popen([binary, "run", "-c", "portcullis.toml"], cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            url = f"https://localhost:{port(proxy)}"
            configuration = akeyless.Configuration(host=f"{url}/api/v2")
            configuration.ssl_ca_cert = str(work / "server.pem")
            configuration.cert_file, configuration.key_file = str(work / "operator.pem"), str(work / "operator.key")
            manage(akeyless.V2Api(akeyless.ApiClient(configuration)), ca, client, unclear)
            auth = [binary, "auth", "--gateway-url", url, "--cacert", "server.pem", "--access-id", "p-operatorxxxx"]
            auth += ["--cert-file-name", "operator.pem", "--key-file-name", "operator.key"]
            token = subprocess.run(auth, cwd=work, check=True, capture_output=True, text=True).stdout.strip()
            bare = akeyless.Configuration(host=f"{url}/api/v2")
            bare.ssl_ca_cert = str(work / "server.pem")
            by_token(akeyless.V2Api(akeyless.ApiClient(bare)), token)
        finally:
            proxy.kill()
            print(proxy.stderr.read() if sys.exc_info()[0] else "", end="", file=sys.stderr)
            proxy.wait()
    print("methods of authentication, by the published client: all as they should be")


main()
