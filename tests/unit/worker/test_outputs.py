from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.worker.outputs import PIECE_BYTES, OutputBuffer, StreamName


def taken(buffer: OutputBuffer, most: int = 1 << 30) -> list[tuple[StreamName, int, bytes]]:
    return [(piece.stream, piece.offset, bytes(piece.data)) for piece in buffer.take(most)]


def test_lines_that_follow_each_other_become_one_piece() -> None:
    buffer = OutputBuffer(limit_bytes=100)
    buffer.add("stdout", 0, b"one\n")
    buffer.add("stderr", 0, b"no\n")
    buffer.add("stdout", 4, b"two\n")
    assert taken(buffer) == [("stdout", 0, b"one\ntwo\n"), ("stderr", 0, b"no\n")]


def test_a_piece_does_not_grow_after_it_was_taken() -> None:
    buffer = OutputBuffer(limit_bytes=100)
    buffer.add("stdout", 0, b"one")
    assert taken(buffer) == [("stdout", 0, b"one")]
    buffer.add("stdout", 3, b"two")
    assert taken(buffer) == [("stdout", 3, b"two")]
    assert taken(buffer) == []


def test_a_stream_over_the_bound_ends_there_and_the_other_goes_on() -> None:
    buffer = OutputBuffer(limit_bytes=10)
    assert buffer.add("stdout", 0, b"x" * 8)
    assert not buffer.add("stdout", 8, b"y" * 8)
    assert not buffer.add("stdout", 16, b"z")
    assert buffer.add("stderr", 0, b"e")
    assert taken(buffer) == [("stdout", 0, b"x" * 8), ("stderr", 0, b"e")]


def test_a_large_piece_is_taken_even_if_it_is_over_the_wish() -> None:
    buffer = OutputBuffer(limit_bytes=1 << 20)
    buffer.add("stdout", 0, b"x" * 1000)
    assert len(buffer.take(10)) == 1


def test_an_ended_buffer_holds_and_takes_nothing() -> None:
    buffer = OutputBuffer(limit_bytes=100)
    buffer.add("stdout", 0, b"x")
    buffer.end()
    assert not buffer.add("stderr", 0, b"y")
    assert (taken(buffer), buffer.size) == ([], 0)


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1, max_size=9000), st.booleans())))
def test_what_is_taken_is_what_was_added_without_a_gap(writes: list[tuple[StreamName, bytes, bool]]) -> None:
    buffer = OutputBuffer(limit_bytes=1 << 30)
    written: dict[StreamName, bytes] = {"stdout": b"", "stderr": b""}
    read: dict[StreamName, bytes] = {"stdout": b"", "stderr": b""}

    def read_some(most: int) -> None:
        for stream, offset, data in taken(buffer, most):
            assert offset == len(read[stream])
            assert len(data) < PIECE_BYTES + 9000
            read[stream] += data

    for stream, data, then_read in writes:
        buffer.add(stream, len(written[stream]), data)
        written[stream] += data
        if then_read:
            read_some(10_000)
    while buffer.size:
        read_some(10_000)
    assert read == written
