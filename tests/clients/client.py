"""client.py KIND URL COUNT: urllib, requests, httpx or asyncio."""

import asyncio
import json
import os
import ssl
import sys
import urllib.parse
import urllib.request


def by_urllib(url):
    return urllib.request.urlopen(url, timeout=20).status


def by_requests(url):
    import requests

    return requests.get(url, timeout=20).status_code


def by_httpx(url):
    import httpx

    with httpx.Client(verify=ssl.create_default_context(), timeout=20) as client:
        return client.get(url).status_code


def by_asyncio(url):
    return asyncio.run(asyncio.wait_for(fetch(url), 20))


async def fetch(url):
    """Happy eyeballs, as asyncio does it when asked."""
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname,
        parts.port or (443 if secure else 80),
        ssl=ssl.create_default_context() if secure else None,
        happy_eyeballs_delay=0.1,
    )
    writer.write(f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.hostname}\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


def main():
    kind, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    get = {"urllib": by_urllib, "requests": by_requests, "httpx": by_httpx, "asyncio": by_asyncio}[kind]
    ok, last = 0, ""
    for _ in range(count):
        try:
            ok += get(url) == 200
        except Exception as error:
            last = repr(error)
    print(json.dumps({"ok": ok, "failed": count - ok, "last": last}))


main()
