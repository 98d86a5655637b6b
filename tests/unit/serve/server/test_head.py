"""The parser of heads and chunked bodies."""

import pytest

from serve.server.head import ChunkedBody


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_content_of_tiny_chunks_is_one_piece(size):
    body, chunk = ChunkedBody(), b"%d\r\n%b\r\n" % (size, b"a" * size)

    assert body.read(memoryview(chunk * 1000)) == (b"a" * size * 1000, False)
    assert body.read(memoryview(b"0\r\n\r\n")) == (b"", True)
