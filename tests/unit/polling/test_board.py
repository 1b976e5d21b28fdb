"""What readiness is told of the scans."""

from __future__ import annotations

from watcher.model import EntityId, Scope
from watcher.polling.board import Board, blind

ONE, TWO, THREE = (Scope(EntityId(name)) for name in ("one", "two", "three"))


def test_a_report_is_made_on_first_use_and_kept() -> None:
    board = Board()
    report = board.report(ONE)
    report.lag = 5.0
    assert board.report(ONE) is report
    assert list(board.reports) == [ONE]


def test_the_oldest_scan_counts_and_one_that_never_was_is_older_than_all() -> None:
    board = Board()
    assert board.oldest_scan is None
    board.report(ONE).completed_at = 7.0
    board.report(TWO).completed_at = 5.0
    assert board.oldest_scan == 5.0
    board.report(THREE)
    assert board.oldest_scan is None


def test_a_scan_at_the_clocks_zero_is_a_scan() -> None:
    board = Board()
    board.report(ONE).completed_at = 0.0
    assert board.oldest_scan == 0.0


def test_where_there_is_nothing_to_scan_everything_is_scanned() -> None:
    board = Board()
    assert board.scanned_at(9.0) is None
    board.listed = True
    assert board.scanned_at(9.0) == 9.0
    board.trouble_discovering = "unauthorized"
    assert board.scanned_at(9.0) is None
    board.trouble_discovering = None
    report = board.report(ONE)
    assert board.scanned_at(9.0) is None
    report.completed_at = 7.0
    assert board.scanned_at(9.0) == 7.0
    report.retired = True
    assert board.scanned_at(9.0) is None


def test_a_scope_that_the_api_refuses_is_not_counted_on() -> None:
    board = Board()
    board.report(ONE).completed_at = 7.0
    refused = board.report(TWO)
    refused.retired, refused.trouble = True, "scope_rejected"
    assert board.oldest_scan == 7.0
    assert board.trouble is None
    assert board.watched == [board.report(ONE)]


def test_trouble_with_discovering_comes_before_a_scopes() -> None:
    board = Board()
    assert board.trouble is None
    board.report(ONE).trouble = "timeout"
    assert board.trouble == "timeout"
    board.trouble_discovering = "unauthorized"
    assert board.trouble == "unauthorized"


class TestBlind:
    """Whether nothing at all can be read, over the shards that this process polls."""

    def board(self, *troubles: str | None, discovering: str | None = None) -> Board:
        board = Board(trouble_discovering=discovering)
        for scope, trouble in zip((ONE, TWO, THREE), troubles, strict=False):
            board.report(scope).trouble = trouble
        return board

    def test_where_every_scope_is_in_trouble(self) -> None:
        assert blind([self.board("timeout", "timeout"), self.board("timeout")])
        assert not blind([self.board("timeout", None), self.board("timeout")])
        assert not blind([self.board("timeout"), self.board(None)])

    def test_where_the_scopes_cannot_even_be_listed(self) -> None:
        assert blind([self.board(discovering="connect")])
        assert not blind([self.board(None, discovering="connect")])

    def test_not_where_there_is_nothing_to_read_and_that_says_nothing_of_the_rest(self) -> None:
        assert not blind([])
        assert not blind([self.board()])
        assert blind([self.board(), self.board("timeout")])

    def test_not_because_of_a_scope_that_the_api_refuses(self) -> None:
        refused = self.board("forbidden")
        refused.report(ONE).retired = True
        assert not blind([refused])
        assert blind([refused, self.board("timeout")])
