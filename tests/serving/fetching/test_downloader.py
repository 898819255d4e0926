"""Tests of serving.fetching.downloader: downloads from a real server, redirects, and private addresses."""

from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.client.image_sources import load_payload
from serving.fetching.downloader import USER_AGENT, Download, Downloader, Validators, download
from serving.fetching.errors import DownloadError
from serving.fetching.public_addresses import is_public
from serving.images.encoding import ImageError
from tests.serving.images.test_encoding import encoded
from tests.serving.web import Answer, Request, web

PNG = encoded(Image.fromarray(np.arange(1200, dtype=np.uint16).astype(np.uint8).reshape(40, 30)), "PNG")


def shop(request: Request) -> Answer:
    """A shop's server, with images and faults."""
    kind, _, rest = request.path.strip("/").partition("/")
    if kind == "to":
        return Answer(302, headers={"Location": rest})
    if kind == "hops":
        return Answer(307, headers={"Location": f"/hops/{int(rest) - 1}"}) if int(rest) else Answer(body=PNG)
    answers = {
        "shoe.png": Answer(body=PNG, headers={"Content-Type": "text/html"}),
        "page.png": Answer(body=b"<html>", headers={"Content-Type": "image/png"}),
        "packed.png": Answer(body=gzip.compress(PNG), headers={"Content-Encoding": "gzip"}),
        "short.png": Answer(body=PNG[:50], length=len(PNG)),
        "reset.png": Answer(0),
    }
    return answers.get(kind, Answer(404))


def test_the_content_of_a_url_counts_not_its_type() -> None:
    """An image is one whatever Content-Type the server sends."""
    with web(shop) as server:
        url = f"{server.url}/shoe.png"
        assert load_payload(url, allow_private=True) == PNG
        with pytest.raises(ImageError, match="page.png is no image"):
            load_payload(f"{server.url}/page.png", allow_private=True)


@pytest.mark.parametrize(
    ("sent", "meant"), [("/h\u00c3\u00a9", "/h%C3%A9"), ("/h\u00e9", "/h%C3%A9"), ("/h%C3%A9", "/h%C3%A9")]
)
def test_a_redirect_is_read_as_browsers_read_it(sent: str, meant: str) -> None:
    """A target is UTF-8 if possible, else Latin-1; headers here are sent as Latin-1, so the first is UTF-8."""
    leading = Answer(302, headers={"Location": sent})
    with web(lambda request: Answer(body=PNG) if request.path == meant else leading) as server:
        assert download(server.url, 10_000, allow_private=True) == PNG


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_private_addresses_are_refused_before_anything_is_sent(host: str) -> None:
    """No request reaches a private address, whatever its name."""
    with web(shop) as server:
        with pytest.raises(DownloadError, match="a public address, or permission .*--allow-private.*\nReceived: "):
            download(f"http://{host}:{server.port}/shoe.png", 10_000)
        assert server.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "64:ff9b:1::a00:1",
        "64:ff9b:1:a00:0:1:808:808",
        "::7f00:1",
        "::8.8.8.8",
        "::ffff:0:127.0.0.1",
        "fec0::1",
        "5f00::1",
        "3fff::1",
        "192.88.99.1",
        "::ffff:192.88.99.1",
        "4000::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    """Private, shared, link-local and multicast addresses are recognised, also inside IPv6 addresses."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
)
def test_public_addresses(address: str) -> None:
    """Addresses of the internet are public, also inside IPv6 addresses."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.0.1",
        "2852039166",
        "[fe80::1]",
        "[febf::1]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "[::ffff:169.254.169.254]",
        "[::ffff:168.63.129.16]",
        "[::169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "[2001:0:0:0:0:0:5601:5601]",
    ],
)
def test_metadata_services_are_never_fetched(host: str) -> None:
    """Link-local addresses and the metadata services of clouds are refused, in every form and whatever is allowed."""
    with pytest.raises(DownloadError, match="neither link-local nor a cloud's metadata service") as raised:
        download(f"http://{host}:9/latest/meta-data/", 10_000, allow_private=True, timeout_seconds=0.5)
    assert raised.value.reason == "private_address"
    with web(shop) as server, pytest.raises(DownloadError, match="neither link-local"):
        download(f"{server.url}/to/http://{host}:9/", 10_000, allow_private=True)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("addresses", "allow_private"), [(["127.0.0.1", "127.0.0.2"], False), (["127.0.0.1", "169.254.169.254"], True)]
)
@pytest.mark.usefixtures("one_public_address")
def test_all_addresses_of_a_name_are_checked(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], allow_private: bool, order: int
) -> None:
    """One refused address among those of a host name is enough, wherever it stands: nothing is sent to the others."""
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses[::order]]
    with web(shop) as server:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **named: entries)
        with pytest.raises(DownloadError, match="is not fetched") as raised:
            download(f"http://shop.example:{server.port}/shoe.png", 10_000, allow_private=allow_private)
    assert raised.value.received == addresses[1] and server.requests == []


def test_redirects_are_followed_and_counted() -> None:
    """Five redirects are followed, relative and absolute ones; a sixth is too many."""
    with web(shop) as server:
        for path in ("hops/5", "to/../../shoe.png", f"to/http://localhost:{server.port}/shoe.png"):
            assert download(f"{server.url}/{path}", 10_000, allow_private=True) == PNG
        with pytest.raises(DownloadError, match="is redirected too often"):
            download(f"{server.url}/hops/6", 10_000, allow_private=True)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://shop.example/1.png", "gopher://localhost/"])
def test_other_schemes_are_refused(target: str) -> None:
    """Only http and https are fetched, both directly and after a redirect."""
    with web(shop) as server:
        for url in (target, f"{server.url}/to/{target}"):
            with pytest.raises(DownloadError, match="is not fetched.\nExpected: http:// or https:// and a host"):
                download(url, 10_000, allow_private=True)


def test_every_hop_is_resolved_and_checked() -> None:
    """A metadata address is refused, and the target of a redirect is checked like the first URL."""
    with web(shop) as server:
        with pytest.raises(DownloadError, match="^http://169.254.169.254/.* is not fetched.\n.*\nReceived: 169.254"):
            download("http://169.254.169.254/latest", 10_000)
        with pytest.raises(DownloadError, match="^http://nowhere.invalid has an unknown host"):
            download(f"{server.url}/to/http://nowhere.invalid/", 10_000, allow_private=True)


@pytest.fixture
def one_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes 127.0.0.1 public and 127.0.0.2 private, since a test has no other addresses."""
    monkeypatch.setattr(
        "serving.fetching.public_addresses.is_public", lambda address: address == ip_address("127.0.0.1")
    )


@pytest.mark.usefixtures("one_public_address")
@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]", "2130706434"])
def test_a_public_server_cannot_redirect_to_a_private_address(host: str) -> None:
    """The redirect is refused, and no request reaches the private address."""
    with web(shop) as server:
        assert download(f"{server.url}/shoe.png", 10_000) == PNG
        # The message names the option of the command line and the parameter of a run.
        permission = r"\(--allow-private, or in a run --set example_gen.allow_private=true\)"
        with pytest.raises(DownloadError, match=f"Expected: a public address, or .*{permission}") as caught:
            download(f"{server.url}/to/http://{host}:{server.port}/shoe.png", 10_000)
        assert caught.value.reason == "private_address"
        assert [request.path.split("/")[1] for request in server.requests] == ["shoe.png", "to"]


@pytest.mark.usefixtures("one_public_address")
def test_a_name_is_resolved_once_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves to a private address a moment after the check (DNS rebinding) is not connected to."""
    real, answers = socket.getaddrinfo, iter(["127.0.0.1", "127.0.0.2"])

    def rebinding(host: str, *options: Any, **named: Any) -> Any:
        return real(next(answers) if host == "shop.example" else host, *options, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with web(shop) as server:
        url = f"http://shop.example:{server.port}/shoe.png"
        assert download(url, 10_000) == PNG
        assert server.requests[0].headers["host"] == f"shop.example:{server.port}"
        with pytest.raises(DownloadError, match="Expected: a public address"):
            download(url, 10_000)
        assert len(server.requests) == 1


def test_unknown_host() -> None:
    """The error has the system's reason, and says nothing about the file."""
    message = "has an unknown host.\nExpected: a name that resolves\nReceived: .+"
    with pytest.raises(DownloadError, match=message) as caught:
        download("https://shop.invalid/1.png", 10_000)
    assert (caught.value.reason, caught.value.unanswered, caught.value.inconclusive) == ("unknown_host", True, True)


def test_the_request_has_the_name_of_the_host() -> None:
    """The server gets the host name of the URL, but neither its user nor its password."""
    with web(shop) as server:
        download(f"http://user:secret@localhost:{server.port}/shoe.png", 10_000, allow_private=True)
        assert server.requests[0].headers["host"] == f"localhost:{server.port}"
        assert "authorization" not in server.requests[0].headers


def test_the_size_is_limited_whatever_is_declared() -> None:
    """Reading ends at the limit, and a compressed answer is not decompressed."""
    with web(shop) as server:
        with pytest.raises(DownloadError, match="too large.\nExpected: at most 100 bytes\nReceived: more"):
            download(f"{server.url}/shoe.png", 100, allow_private=True)
        assert download(f"{server.url}/shoe.png", len(PNG), allow_private=True) == PNG
        with pytest.raises(DownloadError, match="too large") as caught:
            download(f"{server.url}/shoe.png", len(PNG) - 1, allow_private=True)
        assert (caught.value.reason, caught.value.retryable) == ("too_large", False)
        assert download(f"{server.url}/packed.png", 10_000, allow_private=True)[:2] == b"\x1f\x8b"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_redirect_is_followed(status: int) -> None:
    """All five of HTTP's redirects lead to their target (RFC 9110, 15.4)."""
    leading = Answer(status, headers={"Location": "/there"})
    with web(lambda request: Answer(body=PNG) if request.path == "/there" else leading) as server:
        assert download(server.url, 10_000, allow_private=True) == PNG


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(204, False), (300, False), (304, False), (400, False), (404, False), (429, True), (499, False), (500, True),
     (503, True), (599, True)],
)  # fmt: skip
def test_a_status_decides_whether_a_retry_may_help(status: int, retryable: bool) -> None:
    """A server's failure and its wish to wait may pass; a refusal says something about the file, and is an answer."""
    refused = Answer(status, headers={"Location": "/there", "Retry-After": "7"})
    with web(lambda _: refused) as server, pytest.raises(DownloadError, match=f"Received: {status}") as caught:
        download(server.url, 10_000, allow_private=True)
    error = caught.value
    assert (error.reason, error.retryable, error.inconclusive) == (f"http_{status}", retryable, retryable)
    assert (error.retry_after, error.unanswered) == (7.0, False)


@pytest.mark.parametrize(
    ("known", "sent"),
    [
        (None, {}),
        (Validators('"1"'), {"if-none-match": '"1"'}),
        (Validators("", "Mon, 30 Nov 2026 07:00:00 GMT"), {"if-modified-since": "Mon, 30 Nov 2026 07:00:00 GMT"}),
        (Validators('"1"', "yesterday"), {"if-none-match": '"1"', "if-modified-since": "yesterday"}),
    ],
)
def test_a_request_names_the_known_version_and_nothing_else(known: Validators | None, sent: dict[str, str]) -> None:
    """Neither cookies nor a referrer are sent; the answer holds the validators of the present version."""
    answer = Answer(body=PNG, headers={"ETag": '"2"', "Last-Modified": "today"})
    with web(lambda _: answer) as server, Downloader(allow_private=True) as downloader:
        assert downloader.get(server.url, 10_000, 20.0, known) == Download(PNG, Validators('"2"', "today"))
        answer.status, answer.body = 304, b""
        if known:
            assert downloader.get(server.url, 10_000, 20.0, known) == Download(None, Validators('"2"', "today"))
        headers = server.requests[0].headers
    general = {"host": f"127.0.0.1:{server.port}", "user-agent": USER_AGENT, "accept": "*/*"}
    assert headers == {**general, "accept-encoding": "identity", **sent}


def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose first address does not answer is reached at the second; if none does, that is the error."""
    real, addresses = socket.getaddrinfo, ["127.0.0.2", "127.0.0.1", "127.0.0.3"]

    def several(host: str, *options: Any, **named: Any) -> Any:
        return [e for a in (addresses if host == "shop.example" else [host]) for e in real(a, *options, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    with web(shop) as server:
        url = f"http://shop.example:{server.port}/shoe.png"
        assert download(url, 10_000, allow_private=True) == PNG
        del addresses[1]
        with pytest.raises(
            DownloadError, match="cannot be reached.*\nExpected: an answer\nReceived: .*refused"
        ) as caught:
            download(url, 10_000, allow_private=True)
    assert caught.value.unanswered and caught.value.retryable


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl to make a certificate")
def test_a_server_must_prove_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that no authority has signed is refused, whatever the environment trusts; nothing is sent."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    received: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            received.append(secure.recv(1000))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=[listening], daemon=True)
        thread.start()
        url = f"https://localhost:{listening.getsockname()[1]}/shoe.png"
        with pytest.raises(
            DownloadError, match="(?i)cannot be reached.*\nExpected: an answer\nReceived: .*certificate"
        ):
            download(url, 10_000, allow_private=True)
        thread.join(20)
    assert received in ([], [b""])


def test_a_slow_server_times_out() -> None:
    """A download ends at the deadline although the server still holds back the body."""
    hold = threading.Event()
    with web(lambda _: Answer(body=PNG, hold=hold)) as server:
        try:
            with pytest.raises(DownloadError, match="takes too long"):
                download(server.url, 10_000, allow_private=True, timeout_seconds=1.0)
        finally:
            hold.set()


def test_redirects_share_one_deadline() -> None:
    """Three answers of 0.4 s each do not fit into 1 s, although each of them does."""
    never = threading.Event()

    def answer(request: Request) -> Answer:
        never.wait(0.4)
        return shop(request)

    with web(answer) as server, pytest.raises(DownloadError, match="takes too long"):
        download(f"{server.url}/hops/2", 10_000, allow_private=True, timeout_seconds=1.0)


@pytest.mark.parametrize(
    ("path", "message", "unanswered"),
    [
        ("none.png", "Expected: status 200\nReceived: 404", False),
        ("short.png", "breaks off", False),
        ("reset.png", "reached", True),
        ("to/http://127.0.0.1:9/x", "reached", False),
    ],
)
def test_failures_name_the_url_and_the_reason(path: str, message: str, unanswered: bool) -> None:
    """An error status, a broken transfer and a reset have different errors; a redirect is an answer of its host."""
    name = "http://127.0.0.1:9/x" if path.startswith("to") else f"/{path}"
    with web(shop) as server, pytest.raises(DownloadError, match=f"(?s){name} .*{message}") as caught:
        download(f"{server.url}/{path}", 10_000, allow_private=True)
    assert caught.value.unanswered is unanswered and caught.value.retryable is ("none" not in path)


def test_a_closed_port() -> None:
    """The error differs from that of an unknown host."""
    with web(shop) as server:
        url = server.url
    with pytest.raises(DownloadError, match="cannot be reached.\nExpected: an answer\nReceived: .*refused"):
        download(url, 10_000, allow_private=True)
