"""Attempts to get at somebody else's data, against a running server. Each docstring is the claim that is proved."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from score.testing.authorization import MEMBER, STRANGER, SYSTEM
from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.secured import MD5, SecuredSite, check_form, secured_site
from score.testing.service import FakeService

Claims = dict[str, Any]


@pytest.fixture(scope="module")
def ego() -> Iterator[FakeEgo]:
    with FakeEgo() as ego:
        yield ego


@pytest.fixture(scope="module")
def site(ego: FakeEgo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredSite]:
    with secured_site(tmp_path_factory.mktemp("site"), ego) as site:
        site.populate()
        yield site


def status(site: SecuredSite, token: str | None, target: str = "", method: str = "GET") -> int:
    """The status of a call, by default of the download of a controlled file."""
    target = target or f"/download/{site.objects['down', 'controlled']}?offset=0&length=-1"
    answer = site.call(method, target, token)
    check_form(answer, target)
    if token:
        for piece in filter(None, token.split(".")):
            assert len(piece) < 12 or piece not in answer.data.decode()
    return int(answer.status)


def piece(document: object) -> str:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(ego: FakeEgo, header: object, payload: object) -> str:
    """A token with Ego's own signature over any header and payload, as JSON or as bytes."""
    text = f"{piece(header)}.{piece(payload)}"
    return f"{text}.{piece(ego.signing_key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def claims(**more: object) -> Claims:
    now = int(time.time())
    return {"iat": now, "exp": now + 600, "sub": "x", "context": {"scope": ["score.READ", "score.WRITE"]}, **more}


RS256 = {"alg": "RS256", "typ": "JWT"}


def test_the_way_in_of_these_tests_works(site: SecuredSite, ego: FakeEgo) -> None:
    """A proper token gets the file: what is refused below is refused for what is wrong with it."""
    assert status(site, ego.issue_jwt("score.READ")) == 200
    assert status(site, signed(ego, RS256, claims())) == 200
    assert status(site, None) == 403


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, "HS256", "HS512", "RS512", "PS256", "ES256"])
@pytest.mark.parametrize("signature", ["", "signed"])
def test_the_token_does_not_choose_the_algorithm(
    site: SecuredSite, ego: FakeEgo, algorithm: str | None, signature: str
) -> None:
    """Claim: only RS256 is taken; alg=none and others are 401, with or without a signature."""
    token = signed(ego, {"alg": algorithm, "typ": "JWT"}, claims())
    assert status(site, token if signature else token.rpartition(".")[0] + ".") == 401


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS384", "PS512"])
def test_a_right_signature_of_another_kind_is_none(site: SecuredSite, ego: FakeEgo, algorithm: str) -> None:
    """Claim: what the right key signed by another algorithm is 401: RS256 is what the operator chose."""
    assert status(site, jwt.encode(claims(), ego.signing_key, algorithm)) == 401


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_the_public_key_is_no_secret_to_sign_with(site: SecuredSite, ego: FakeEgo, algorithm: str) -> None:
    """Claim: a token signed by HMAC with the public key, in whatever form, is 401."""
    text = f"{piece({'alg': algorithm, 'typ': 'JWT'})}.{piece(claims())}"
    pem = ego.public_key
    lines = pem.replace("\r\n", "\n")
    for secret in (pem, lines, lines + "\n", "".join(lines.split("\n")[1:-1])):
        mac = hmac.digest(secret.encode(), text.encode(), getattr(hashlib, f"sha{algorithm[2:]}"))
        assert status(site, f"{text}.{piece(mac)}") == 401


def test_a_token_of_another_issuer_is_refused(site: SecuredSite) -> None:
    """Claim: only the authorization server's own key proves tokens."""
    assert status(site, FakeEgo().issue_jwt(*SYSTEM)) == 401


def test_a_changed_token_is_refused(site: SecuredSite, ego: FakeEgo) -> None:
    """Claim: header, claims and signature of a token cannot be changed or exchanged."""
    one, other = ego.issue_jwt("score.READ").split("."), ego.issue_jwt("score.READ").split(".")
    for changed in (
        [one[0], other[1], one[2]],
        [one[0], piece(claims()), one[2]],
        [piece({**RS256, "kid": "x"}), one[1], one[2]],
        [one[0], one[1], other[2]],
        [one[0], one[1], ""],
        [one[0], one[1], one[2][:-4] + "AAAA"],
        [one[0], one[1], one[2], "x"],
        [one[0], one[1]],
        ["", "", ""],
    ):
        assert status(site, ".".join(changed)) == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": int(time.time()) - 61},
        {"exp": 0},
        {"exp": -1},
        {"exp": None},
        {"exp": "soon"},
        {"exp": [9999999999]},
        {"exp": {}},
        {"nbf": int(time.time()) + 3600},
        {"nbf": "later"},
        {"iat": int(time.time()) + 3600},
    ],
    ids=[
        "past",
        "exp=0",
        "exp=-1",
        "exp=None",
        "exp=soon",
        "exp=[]",
        "exp={}",
        "not yet",
        "nbf=later",
        "from then on",
    ],
)
def test_times_of_a_token_are_honoured(site: SecuredSite, ego: FakeEgo, wrong: Claims) -> None:
    """Claim: an expired token, one that is not yet valid, and one without an end are 401."""
    assert status(site, signed(ego, RS256, claims(**wrong))) == 401
    without = {name: value for name, value in claims().items() if name != "exp"}
    assert status(site, signed(ego, RS256, without)) == 401


@pytest.mark.parametrize("number", [b"1e999", b"Infinity", b"NaN", b"9" * 5000], ids=["1e999", "inf", "nan", "huge"])
def test_numbers_that_are_none_do_no_harm(site: SecuredSite, ego: FakeEgo, number: bytes) -> None:
    """Claim: odd numbers in claims are a 401, never an error of the server or a token without end."""
    payload = json.dumps(claims(exp=0)).encode().replace(b'"exp": 0', b'"exp": ' + number)
    assert status(site, signed(ego, RS256, payload)) == 401


def test_a_token_of_a_megabyte_is_refused(site: SecuredSite, ego: FakeEgo) -> None:
    """Claim: a token of 1 MB is refused by its length, before anything looks into it; 50 kB are looked at in vain."""
    asked = len(ego.traffic.seen())
    for token in ("x" * 1_000_000, ego.issue_jwt("score.READ", junk="x" * 1_000_000)):
        answer = site.call("GET", "/listing", token)
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/json"
    for token in ("[" * 50_000, piece(b"[" * 37_000), f"{piece(b'[' * 37_000)}.e30.x", ".".join("x" * 20_000)):
        assert status(site, token, "/listing") == 401
    assert len(ego.traffic.seen()) == asked


@pytest.mark.parametrize(
    "kid", ["../../../../dev/null", "/dev/null", "http://{}/key", "' OR 1=1 --", "\0", "x" * 9000, 5, [], {}]
)
def test_the_name_of_a_key_leads_nowhere(site: SecuredSite, tmp_path: Path, kid: object) -> None:
    """Claim: kid only chooses among the keys of the configured set; it is no path, no URL, no query."""
    with FakeKeycloak() as fake, Listener() as elsewhere:
        name = kid.format(elsewhere.url.removeprefix("http://")) if isinstance(kid, str) else kid
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        text = f"{piece({**RS256, 'kid': name})}.{piece(claims(iss=fake.realm_url))}"
        token = f"{text}.{piece(key.sign(text.encode(), PKCS1v15(), SHA256()))}"
        with secured_site(tmp_path, fake) as other:
            fake.traffic.wait_for(path="/certs")
            assert ended(other, token) == 401
        assert elsewhere.traffic.seen() == []


def ended(site: SecuredSite, token: str) -> int:
    """The status, once the keys of the set are there."""
    while (found := status(site, token, "/listing")) == 503:
        pass
    return found


class Listener(FakeService):
    """Whoever calls it has fallen for an address in a token."""

    def routes(self) -> list[Any]:
        return []


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c", "iss"])
def test_addresses_and_keys_in_a_token_are_not_looked_at(site: SecuredSite, name: str) -> None:
    """Claim: no token makes the server fetch anything (jku, x5u, iss), or brings its own key (jwk, x5c)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with Listener() as elsewhere:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        given: dict[str, object] = {
            "jku": f"{elsewhere.url}/keys",
            "x5u": f"{elsewhere.url}/chain",
            "jwk": public,
            "x5c": ["MIIB"],
            "iss": elsewhere.url,
        }
        header = RS256 | ({name: given[name]} if name != "iss" else {})
        text = f"{piece(header)}.{piece(claims(iss=elsewhere.url))}"
        token = f"{text}.{piece(key.sign(text.encode(), PKCS1v15(), SHA256()))}"
        assert status(site, token) == 401
        assert elsewhere.traffic.seen() == []


def test_no_challenge_is_made_out_of_a_claim(tmp_path: Path) -> None:
    """Claim: what a token says of itself stays within one text of the header WWW-Authenticate."""
    with FakeKeycloak() as fake, secured_site(tmp_path, fake) as other:
        token = fake.issue_jwt("a.READ", iss='x", realm="evil\\\r\nX-Evil: 1')
        assert ended(other, token) == 401
        answer = other.call("GET", "/listing", token)
        challenge = answer.headers["www-authenticate"]
        assert "evil" in challenge
        assert challenge.count('"') == 6
        assert "\\" not in challenge
        assert "x-evil" not in answer.headers


def test_a_header_that_must_be_understood_is_not_passed_over(site: SecuredSite, ego: FakeEgo) -> None:
    """Claim: a token with critical extensions (crit) is 401."""
    assert status(site, signed(ego, {**RS256, "crit": ["b64"], "b64": False}, claims())) == 401


@pytest.mark.parametrize(
    "payload",
    [
        b'{"exp":9999999999,"context":{"scope":[]},"context":{"scope":["score.READ"]}}',
        b'{"exp":9999999999,"context":{"scope":["score.READ"],"scope":["score.READ"]}}',
        b'{"exp":1,"exp":9999999999,"context":{"scope":["score.READ"]}}',
    ],
)
def test_claims_given_twice_are_refused(site: SecuredSite, ego: FakeEgo, payload: bytes) -> None:
    """Claim: a token with a claim given twice, which readers may take differently, is 401."""
    assert status(site, signed(ego, RS256, payload)) == 401
    assert status(site, signed(ego, b'{"alg":"RS256","alg":"RS256"}', claims())) == 401


@pytest.mark.parametrize(
    "context",
    [
        {"scope": "score.READ"}, {"scope": None}, {"scope": {"score.READ": True}}, {"scope": [["score.READ"]]},
        {"scope": [{"scope": "score.READ"}]}, {"scopes": ["score.READ"]}, {"user": {"scope": ["score.READ"]}}, None,
        ["score.READ"], "score.READ", {"scope": [None, 5, True]}, {"scope": ["score.READ "]},
        {"scope": ["score.READ,x"]},
    ],
)  # fmt: skip
def test_scopes_of_another_shape_are_none(site: SecuredSite, ego: FakeEgo, context: object) -> None:
    """Claim: only a list of texts in context.scope grants anything; text, nested, null and other places do not."""
    token = signed(ego, RS256, claims(context=context, scope=["score.READ"], scp="score.READ"))
    assert status(site, token) == 403
    assert status(site, token, f"/download/{site.objects['down', 'open']}?offset=0&length=-1") == 200


def test_a_uuid_that_is_no_key_is_refused(site: SecuredSite) -> None:
    """Claim: what looks like an API key and is none is 401, on open files too."""
    for word in (str(uuid.uuid4()), "0" * 8 + "-0000-0000-0000-" + "0" * 12, str(uuid.uuid4()).upper()):
        assert status(site, word) == 401
        assert status(site, word, f"/download/{site.objects['down', 'open']}?offset=0&length=-1") == 401


def test_a_key_is_taken_as_it_was_given_out(site: SecuredSite) -> None:
    """Claim: variants of a valid key (case, braces, no dashes, blanks within) are no keys."""
    key = site.make_key("score.READ")
    assert status(site, key) == 200
    for variant in (
        key.upper(),
        f"{{{key}}}",
        key.replace("-", ""),
        f"urn:uuid:{key}",
        key[:-1],
        f"{key}0",
        f"{key},{key}",
    ):
        assert status(site, variant) == 401


@pytest.mark.parametrize("name", ["access_token", "token", "apiKey", "Authorization", "authorization", "bearer"])
def test_a_token_counts_in_its_header_only(site: SecuredSite, name: str) -> None:
    """Claim: a token in the query, where logs would keep it, or in a body, opens nothing."""
    key = site.make_key(*SYSTEM)
    target = f"/download/{site.objects['down', 'controlled']}?offset=0&length=-1"
    assert site.call("GET", f"{target}&{name}={key}").status == 403
    assert site.call("GET", f"/upload/{site.objects['up', 'open']}?{name}={key}").status == 401
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert site.call("POST", "/upload/cancel", None, f"{name}={key}".encode(), **form).status == 401
    assert site.call("GET", target, Cookie=f"{name}={key}").status == 403
    assert site.call("GET", target, **{"X-Score-Token": key}).status == 403


def test_two_tokens_are_none(site: SecuredSite) -> None:
    """Claim: a request with two Authorization headers is refused: a proxy may have looked at the other one."""
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=30)
    connection.putrequest("GET", "/listing")
    for key in (site.make_key(), site.make_key(*SYSTEM)):
        connection.putheader("Authorization", f"Bearer {key}")
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["status"]) == (400, 400)
    connection.close()


SCOPES = [
    ".*", "PROGRAMDATA-.*", "PROGRAMDATA-.*.READ", "PROGRAMDATA-TEST.CA.READ", "PROGRAMDATA-*.READ",
    "PROGRAMDATA-%.READ", "PROGRAMDATA-TEST-C[A].READ", "PROGRAMDATA-(TEST-CA|x).READ", "score..*", "score", "score.",
    "scoreXREAD", ".READ", "READ", "PROGRAMDATA-TEST.READ", "PROGRAMDATA-TEST-CA", "PROGRAMDATA-TEST-CA.READ.READ",
    "XPROGRAMDATA-TEST-CA.READ", "PROGRAMDATA-TEST-CA-B.READ", "PROGRAMDATA-TEST-CA.READX", "PROGRAMDATA-.READ",
    "TEST-CA.READ", "PROGRAMDATA-TEST-CA.WRITE", "PROGRAMDATA-PROGRAMDATA-TEST-CA.READ",
    "PROGRAMDATA-\u212aEST-CA.READ", "\u017fcore.READ", "score.READ\n", "",
]  # fmt: skip


def test_scopes_are_compared_whole(site: SecuredSite, ego: FakeEgo) -> None:
    """Claim: a scope is a name: no pattern, no beginning or end of another one, no look-alike letters."""
    assert status(site, ego.issue_jwt(*SCOPES)) == 403
    assert status(site, ego.issue_jwt("programdata-test-ca.read")) == 200, "case does not matter"


@pytest.mark.parametrize(
    ("mine", "others"),
    [
        ("A", ["A-B", "A.B", "AA", "B-A", "A_", "A-READ"]),
        ("A-B", ["A", "B", "A-BC", "AB", "A.B"]),
        ("D.OT", ["D-OT", "DXOT", "D", "OT", "D.OT.READ", "D.O.T"]),
        ("READ", ["READ.READ", "A", "score"]),
    ],
)
def test_studies_are_told_apart(site: SecuredSite, ego: FakeEgo, mine: str, others: list[str]) -> None:
    """Claim: the scope of one study opens no other, whatever their names have in common (dashes, dots, prefixes)."""
    token = ego.issue_jwt(f"PROGRAMDATA-{mine}.READ", f"PROGRAMDATA-{mine}.WRITE")
    for study in [mine, mine.lower(), *others]:
        _, identity = site.register(f"{uuid.uuid4().hex}.txt", study=study)
        allowed = study.lower() == mine.lower()
        for target, method in (
            (f"/download/{identity}?offset=0&length=-1&exclude-urls=true", "GET"),
            (f"/upload/{identity}", "GET"),
        ):
            found = site.call(method, target, token).status
            assert (found != 403) is allowed, (study, target)


def test_a_refusal_names_the_scope_needed_and_those_held(site: SecuredSite, ego: FakeEgo) -> None:
    """Claim: who is refused learns what is needed, and the owner of a token what it has; nobody else's scopes."""
    target = f"/download/{site.objects['down', 'controlled']}?offset=0&length=-1"
    said = site.call("GET", target, ego.issue_jwt("song.READ", "a.READ")).json()["message"]
    assert said == (
        "Token missing required scope to download controlled-access file: this needs score.READ or"
        " PROGRAMDATA-TEST-CA.READ, and the token has a.READ, song.READ."
    )
    said = site.call("GET", target).json()["message"]
    assert said.endswith("this needs score.READ or PROGRAMDATA-TEST-CA.READ, and no token was sent.")
    said = site.call("POST", "/upload/cancel", ego.issue_jwt(*MEMBER)).json()["message"]
    assert "this needs score.WRITE, and the token has PROGRAMDATA-TEST-CA.READ, PROGRAMDATA-TEST-CA.WRITE." in said
    many = ego.issue_jwt(*[f"s{number:03}.READ" for number in range(500)])
    said = site.call("GET", target, many).json()["message"]
    assert "s019.READ and 480 more" in said
    assert "s020" not in said


def uploads_of_others(identity: str, upload: str) -> list[tuple[str, str]]:
    part = f"partNumber=1&uploadId={upload}"
    return [
        ("GET", f"/upload/{identity}/status?fileSize=16"),
        ("POST", f"/upload/{identity}/recovery?fileSize=16"),
        ("POST", f"/upload/{identity}/begin?fileSize=16"),
        ("POST", f"/upload/{identity}/parts?{part}&md5={MD5}&etag={MD5}"),
        ("POST", f"/upload/{identity}/parts?{part}&md5={MD5}&etag={MD5}&complete=true"),
        ("DELETE", f"/upload/{identity}/parts?{part}"),
        ("POST", f"/upload/{identity}/uploads?fileSize=16&overwrite=true"),
        ("POST", f"/upload/{identity}?uploadId={upload}"),
        ("DELETE", f"/upload/{identity}"),
        ("GET", f"/upload/{identity}"),
        ("GET", f"/upload/test/{identity}"),
    ]


def test_an_upload_is_the_business_of_its_study(site: SecuredSite) -> None:
    """Claim: finishing, forgetting, completing, cancelling, restarting or looking at another study's upload is 403,
    and leaves it as it is."""
    _, theirs = site.register(f"{uuid.uuid4().hex}.bin")
    upload = site.begin(theirs)
    stranger = site.make_key(*STRANGER)
    for method, target in uploads_of_others(theirs, upload):
        assert status(site, stranger, target, method) == 403, target
    assert site.is_untouched(theirs, upload)


def test_an_upload_id_is_good_for_its_object_only(site: SecuredSite) -> None:
    """Claim: an object of one's own study, named with the upload id of another study's upload, opens nothing."""
    _, theirs = site.register(f"{uuid.uuid4().hex}.bin")
    _, mine = site.register(f"{uuid.uuid4().hex}.bin", study="OTHER-CA")
    upload = site.begin(theirs)
    stranger = site.make_key(*STRANGER)
    for method, target in uploads_of_others(mine, upload):
        answer = site.call(method, target, stranger)
        if "uploadId" in target:
            assert answer.status == 404, (target, answer.data)
    assert site.is_untouched(theirs, upload)
    site.call("DELETE", f"/upload/{mine}", stranger)
    for trick in (
        f"../{theirs}_{upload}",
        f"{theirs}_{upload}",
        f"x/../../{theirs}_{upload}",
        f"{upload}/../{upload}",
    ):
        answer = site.call("POST", f"/upload/{mine}?uploadId={quote(trick, safe='')}", stranger)
        assert answer.status in (400, 404), trick
    assert site.is_untouched(theirs, upload)


def test_an_id_is_looked_at_after_it_was_understood(site: SecuredSite) -> None:
    """Claim: no spelling of another study's object (case, encoding, dots, slashes) gets past its study's scope."""
    _, theirs = site.register(f"{uuid.uuid4().hex}.bin")
    stranger = site.make_key(*STRANGER)
    for spelling in (
        theirs.upper(), theirs.replace("-", "%2d"), f"{theirs}%00", f"{theirs}%20", f"./{theirs}", f"{theirs}/",
        f"%2e/{theirs}", f"x/../{theirs}", f"{theirs};a=b", f"{theirs}%0d%0aX-A:b", f"{{{theirs}}}",
        theirs.replace("-", ""),
    ):  # fmt: skip
        for target in (f"/upload/{spelling}", f"/download/{spelling}?offset=0&length=-1&exclude-urls=true"):
            answer = site.call("GET", target, stranger)
            assert answer.status in (400, 403, 404), (target, answer.data)
            assert "x-a" not in answer.headers


def test_the_registry_is_changed_by_its_study_only(site: SecuredSite, ego: FakeEgo) -> None:
    """Claim: submitting, publishing, withdrawing in the embedded registry needs the study's upload scope."""
    analysis, _ = site.register(f"{uuid.uuid4().hex}.bin")
    for token, wanted in (
        (None, 401),
        (ego.issue_jwt(*STRANGER), 403),
        (site.make_key("PROGRAMDATA-TEST-CA.READ"), 403),
    ):
        for method, target in (
            ("POST", "/submit/TEST-CA"),
            ("POST", "/studies/NEW/"),
            ("PUT", f"/studies/TEST-CA/analysis/publish/{analysis}"),
            ("PUT", f"/studies/TEST-CA/analysis/unpublish/{analysis}"),
            ("PUT", f"/studies/TEST-CA/analysis/suppress/{analysis}"),
        ):
            answer = site.call(method, target, token, b"{}")
            assert answer.status == wanted, (target, answer.data)
            assert ("www-authenticate" in answer.headers) is (wanted == 401)
