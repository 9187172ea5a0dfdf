"""A token is fetched once, by one thread at a time, and again a minute before it expires."""

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from moto import mock_aws

from pista.kafka.errors import TokenError
from pista.kafka.tokens import TokenSource, msk_tokens


def test_a_token_is_kept_until_a_minute_before_it_expires() -> None:
    now, fetched = [1000.0], []

    def fetch() -> tuple[str, float]:
        fetched.append(now[0])
        return f"token {len(fetched)}", now[0] + 900

    source = TokenSource(fetch, clock=lambda: now[0])
    assert [source.token(), source.token()] == ["token 1", "token 1"]
    now[0] = 1839.9
    assert source.with_expiry("") == ("token 1", 1900.0)
    now[0] = 1840.0
    assert source.with_expiry("") == ("token 2", 2740.0)
    assert fetched == [1000.0, 1840.0]


def test_many_connections_at_once_fetch_one_token() -> None:
    fetching, entered = threading.Event(), []

    def fetch() -> tuple[str, float]:
        entered.append(threading.get_ident())
        fetching.wait(10)
        return "token", time.time() + 900

    source = TokenSource(fetch)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(source.token) for _ in range(8)]
        fetching.set()
        assert {answer.result() for answer in answers} == {"token"}
    assert len(entered) == 1


def test_a_failure_is_an_error_and_is_not_kept() -> None:
    answers: list[object] = [OSError("STS is away"), ("token", time.time() + 900)]

    def fetch() -> tuple[str, float]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    source = TokenSource(fetch)
    with pytest.raises(TokenError, match="no token for Kafka: OSError: STS is away"):
        source.token()
    assert source.token() == "token"


@pytest.fixture
def a_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process as a pod has it: a role, and a token of the cluster's to take it with."""
    token = tmp_path / "token"
    token.write_text("a.b.c")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pista")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_token_of_msk_is_signed_with_the_credentials_of_the_role(a_role: None) -> None:
    with mock_aws(config={"core": {"mock_credentials": False}}):
        msk_tokens.cache_clear()
        source = msk_tokens("eu-west-1")
        token, expires = source.with_expiry()
        assert source.token() == token
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    query = parse_qs(url.query)
    assert url.netloc == "kafka.eu-west-1.amazonaws.com"
    assert query["Action"] == ["kafka-cluster:Connect"]
    assert "X-Amz-Security-Token" in query  # the role's, of STS
    assert 0 < expires - time.time() <= 900
    msk_tokens.cache_clear()


def test_without_credentials_the_error_says_so(a_role: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_WEB_IDENTITY_TOKEN_FILE")
    monkeypatch.delenv("AWS_ROLE_ARN")
    msk_tokens.cache_clear()
    with pytest.raises(TokenError, match=r"(?i)no token for Kafka: .*credentials"):
        msk_tokens("eu-west-1").token()
    msk_tokens.cache_clear()
