"""Verifies access tokens with PyJWT, which knows no more of us than the address of our key set, and tries to make some with
what is published there. Run by `make jwks-test`; the argument is the address of an api that signs with Ed25519."""

import base64
import hashlib
import hmac
import json
import sys
import urllib.error
import urllib.request

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

BASE = sys.argv[1]
KEYS = f"{BASE}/.well-known/jwks.json"


def call(path, body=None, token=None):
    """The status and the JSON of an answer."""
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode() if body is not None else None
    try:
        with urllib.request.urlopen(urllib.request.Request(BASE + path, data, headers)) as reply:
            return reply.status, json.loads(reply.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def verify(token):
    """What a service that trusts us does with a token."""
    key = jwt.PyJWKClient(KEYS).get_signing_key_from_jwt(token)
    required = ["exp", "iat", "iss", "aud", "sub"]
    return jwt.decode(token, key, ["EdDSA"], {"require": required}, audience="trellis", issuer=BASE)


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


account = {"email": "ada@example.org", "username": "ada", "password": "Vq7-tangerine-kiln"}
assert call("/api/register/", account)[0] == 201
login = {"identifier": "ada", "password": account["password"], "transport": "bearer"}
status, ada = call("/api/login/", login)
assert status == 200, ada
token = ada["access_token"]

claims = verify(token)
assert claims["sub"] == ada["user"]["id"], claims
header = jwt.get_unverified_header(token)
assert header["alg"] == "EdDSA" and header["typ"] == "at+jwt", header
assert call("/api/me/", token=token)[0] == 200
print("PyJWT", jwt.__version__, "verifies our tokens with the published key", header["kid"])

message, signature = token.rsplit(".", 1)
try:
    verify(f"{message.replace('.', '.A')}.{signature}")
    raise SystemExit("PyJWT took a token that was changed")
except jwt.InvalidTokenError:
    pass

# What is public makes no token.
jwk = json.load(urllib.request.urlopen(KEYS))["keys"][0]
public = jwt.PyJWK(jwk).key
secrets = {
    "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "raw": public.public_bytes(Encoding.Raw, PublicFormat.Raw),
    "x": jwk["x"].encode(),
    "nothing": b"",
}
payload = token.split(".")[1]
forged = {}
for kid in (jwk["kid"], "../../x", "' OR 1=1"):
    for alg in ("HS256", "none", "RS256", "EdDSA"):
        head = encode(json.dumps({"typ": "at+jwt", "alg": alg, "kid": kid}, separators=(",", ":")).encode())
        for name, secret in secrets.items():
            mac = encode(hmac.new(secret, f"{head}.{payload}".encode(), hashlib.sha256).digest())
            forged[f"{alg} {kid} {name}"] = f"{head}.{payload}.{mac}"
        forged[f"{alg} {kid} unsigned"] = f"{head}.{payload}."
thief = Ed25519PrivateKey.generate()
own = jwt.algorithms.OKPAlgorithm.to_jwk(thief.public_key(), as_dict=True)
for name, extra in {
    "another key": {},
    "jwk": {"jwk": own},
    "jku": {"jku": KEYS},
    "x5u": {"x5u": KEYS},
}.items():
    head = {"typ": "at+jwt", "kid": jwk["kid"]} | extra
    forged[name] = jwt.encode(claims, thief, "EdDSA", headers=head)
for name, token in forged.items():
    status, problem = call("/api/me/", token=token)
    assert (status, problem["code"]) == (401, "unauthenticated"), (name, status, problem)
print(len(forged), "forged tokens were refused")
