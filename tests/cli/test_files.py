"""Upload, list, show, download, delete and purge, in this process and over HTTP."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
from flask import Flask

from flask_portkey_files.cli.download import safe_name
from flask_portkey_files.testing import Upstream
from tests.cli.conftest import Run, lines


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class TestUpload:
    def test_many_files_by_a_pattern(
        self, run: Run, upstream: Upstream, tmp_path: Path
    ) -> None:
        contents = {f"{n:02}.jsonl": bytes([n]) * (n * 10_000) for n in range(20)}
        (tmp_path / "in").mkdir()
        for name, content in contents.items():
            (tmp_path / "in" / name).write_bytes(content)
        result = run("upload", "--purpose", "batch", "in/*.jsonl", "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        assert {file.filename: file.content for file in upstream.files} == contents
        told = {Path(line["path"]).name: line for line in lines(result)}
        for name, content in contents.items():
            assert told[name]["sha256"] == sha256(content)
            assert told[name]["sha256_verified"] is True
            assert told[name]["bytes"] == len(content)

    def test_as_people_see_it(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_bytes(b"{}\n")
        result = run("upload", "a.jsonl", "--purpose", "batch", "--expires-after", "2d")
        assert result.exit_code == 0
        file_id, _, told = result.stdout.partition("  ")
        assert file_id.startswith("file-")
        assert told == f"a.jsonl  3 B  sha256 {sha256(b'{}' + bytes([10]))} (verified)\n"
        (file,) = lines(run("list", "--json"))
        assert file["expires_at"] - file["created_at"] == 2 * 86_400

    def test_stdin(self, run: Run, upstream: Upstream) -> None:
        content = b"line\n" * 50_000
        arguments = ("-", "--name", "in.jsonl", "--purpose", "batch", "--json")
        result = run("upload", *arguments, input=io.BytesIO(content))
        (told,) = lines(result)
        assert (told["sha256"], told["sha256_verified"]) == (sha256(content), False)
        assert [(f.filename, f.content) for f in upstream.files] == [("in.jsonl", content)]

    def test_the_rest_goes_on_when_one_fails(
        self, run: Run, upstream: Upstream, tmp_path: Path
    ) -> None:
        for name in ("a", "b", "c"):
            (tmp_path / name).write_text(name)
        upstream.answer_next(429)
        result = run("upload", "a", "b", "gone", "c", "--purpose", "batch", "--json")
        assert result.exit_code == 1
        assert [file.filename for file in upstream.files] == ["b", "c"]
        first, _, third, _ = lines(result)
        assert (first["path"], first["error"]["status"]) == ("a", 429)
        assert (third["path"], third["error"]["message"]) == (
            "gone",
            "No such file or directory",
        )
        assert "a: The stand-in was told to answer 429." in result.stderr
        assert "2 files of 4 could not be uploaded." in result.stderr

    def test_what_the_provider_refuses(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("a")
        result = run("upload", "a", "--purpose", "nonsense")
        assert result.exit_code == 1
        assert "Invalid value: 'nonsense'" in result.stderr
        assert result.stdout == ""

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("none*.jsonl", "--purpose", "batch"), "No file matches 'none*.jsonl'"),
            (("a", "b", "--name", "x", "--purpose", "batch"), "--name is for one file"),
            (("-", "--purpose", "batch"), "--name has to say"),
            (("a",), "--purpose"),
            (("a", "--purpose", "x", "--expires-after", "soon"), "'soon' is no period"),
            (("a", "--purpose", "x", "--key-env", "NOT_SET"), "NOT_SET is not set"),
            (("a", "--purpose", "x", "-H", "nothing"), "A header is written as"),
            (("a", "--purpose", "x", "-H", "@nowhere"), "'nowhere' can't be read"),
            (("a", "--purpose", "x", "--url", "ftp://a"), "http or https"),
            (("a", "--purpose", "x", "--url", "http://u:p@a"), "no credentials"),
        ],
    )
    def test_usage(self, run: Run, arguments: tuple[str, ...], says: str) -> None:
        result = run("upload", *arguments)
        assert result.exit_code == 2
        assert says in result.stderr

    def test_a_folder_is_no_file(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        result = run("upload", "folder", "--purpose", "batch")
        assert result.exit_code == 1
        assert "folder: Is a directory" in result.stderr


class TestList:
    def test_a_table(self, run: Run, upstream: Upstream) -> None:
        ids = [
            upstream.add_file(b"x" * 1536, filename="a.jsonl"),
            upstream.add_file(b"", filename="evil\x1b[2J\n.jsonl", purpose="evals"),
        ]
        result = run("list")
        heading, newest, oldest = result.stdout.splitlines()
        assert heading.split() == ["ID", "NAME", "PURPOSE", "SIZE", "CREATED", "EXPIRES"]
        assert oldest.split()[:5] == [ids[0], "a.jsonl", "batch", "1.5", "KiB"]
        assert newest.split()[:3] == [ids[1], "evil\ufffd[2J\ufffd.jsonl", "evals"]
        assert newest.index("0 B") + 3 == oldest.index("1.5 KiB") + 7

    def test_pages(self, run: Run, upstream: Upstream) -> None:
        ids = [upstream.add_file(b"x") for _ in range(5)]
        result = run("list", "--json", "--limit", "2", "--order", "asc")
        assert [line["id"] for line in lines(result)] == ids[:2]
        assert f"There are more: --after {ids[1]} goes on" in result.stderr
        rest = run("list", "--json", "--limit", "3", "--order", "asc", "--after", ids[1])
        assert [line["id"] for line in lines(rest)] == ids[2:]
        assert rest.stderr == ""
        assert len(lines(run("list", "--json", "--all"))) == 5

    def test_all_over_several_pages(
        self, run: Run, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flask_portkey_files.cli.connection.PAGE", 2)
        ids = [upstream.add_file(b"x") for _ in range(5)]
        result = run("list", "--json", "--all", "--order", "asc")
        assert [line["id"] for line in lines(result)] == ids
        queries = [request.query for request in upstream.requests]
        assert [query.count("after=") for query in queries] == [0, 1, 1]

    def test_by_purpose(self, run: Run, upstream: Upstream) -> None:
        upstream.add_file(b"x")
        wanted = upstream.add_file(b"x", purpose="evals")
        result = run("list", "--json", "--purpose", "evals")
        assert [line["id"] for line in lines(result)] == [wanted]

    def test_none(self, run: Run) -> None:
        result = run("list")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No files.\n")

    def test_a_busy_provider_is_asked_again(self, run: Run, upstream: Upstream) -> None:
        upstream.answer_next(429, headers={"Retry-After": "1"}, times=2)
        result = run("list", "--json")
        assert (result.exit_code, len(upstream.requests)) == (0, 3)

    def test_a_list_that_does_not_go_on(self, run: Run, upstream: Upstream) -> None:
        page = {"data": [{"id": "file-1"}], "has_more": True}
        upstream.answer_next(200, body=json.dumps(page).encode(), times=5)
        result = run("list", "--all", "--json")
        assert result.exit_code == 1
        assert "`after` is ignored" in result.stderr

    def test_an_error(self, run: Run, upstream: Upstream) -> None:
        upstream.answer_next(401)
        result = run("list")
        assert result.exit_code == 1
        assert result.stderr == "Error: The stand-in was told to answer 401. (401)\n"

    def test_without_a_provider(self, app: Flask) -> None:
        result = app.test_cli_runner().invoke(args=["portkey-files", "list"])
        assert result.exit_code == 1
        assert "--provider, --virtual-key or --config says where to (400)" in result.stderr

    def test_no_files_api(self, run: Run, upstream: Upstream) -> None:
        upstream.answer_next(200, body=b"<html>", headers={"Content-Type": "text/html"})
        result = run("list")
        assert result.exit_code == 1
        assert "is no Files API" in result.stderr

    @pytest.mark.parametrize(
        "page",
        [b"[" * 100_000, b'{"data": 5}', b'{"data": {"a": 1}, "has_more": true}', b"[]"],
        ids=["deep", "number", "object", "list"],
    )
    def test_a_list_that_is_none(self, run: Run, upstream: Upstream, page: bytes) -> None:
        upstream.answer_next(200, body=page)
        result = run("list")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "is no Files API" in result.stderr


#: Whatever a provider says, a terminal can show it, and acts on none of it.
STRANGE = {
    "id": "file-1\ud800",
    "filename": "\u061c\u001b]0;title\u0007\ud800",
    "bytes": 10**400,
    "created_at": 1e300,
    "expires_at": -1e300,
    "purpose": ["batch"],
}


@pytest.mark.parametrize("command", ["list", "show"])
def test_strange_metadata(run: Run, upstream: Upstream, command: str) -> None:
    told = {"data": [STRANGE]} if command == "list" else STRANGE
    upstream.answer_next(200, body=json.dumps(told).encode())
    result = run(command, *(["file-1"] if command == "show" else []))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "\ufffd\ufffd]0;title\ufffd\ufffd" in result.stdout


@pytest.mark.parametrize("command", ["list", "show", "download", "upload", "purge"])
def test_what_a_terminal_can_not_show(
    app: Flask, upstream: Upstream, command: str, tmp_path: Path
) -> None:
    """As on Windows, in a pipe."""
    file_id = upstream.add_file(b"x", filename="\u65e5\u00e9\x1b")
    (tmp_path / "\u672c").touch()
    arguments = {
        "show": [file_id],
        "download": [file_id],
        "upload": ["\u672c", "--purpose", "batch"],
        "purge": ["--older-than", "0s"],
    }
    result = app.test_cli_runner(charset="latin-1").invoke(
        args=["portkey-files", command, "--provider", "own", *arguments.get(command, [])]
    )
    assert result.exit_code == 0
    assert ("  ?  " if command == "upload" else "?\xe9?") in result.stdout
    if command == "download":
        assert (tmp_path / "\u65e5\u00e9\ufffd").exists()


class TestShow:
    def test_details(self, run: Run, upstream: Upstream) -> None:
        file_id = upstream.add_file(b"x" * 2048, filename="a.jsonl")
        result = run("show", file_id)
        told = dict(line.split(None, 1) for line in result.stdout.splitlines())
        assert told["id"] == file_id
        assert told["bytes"] == "2.0 KiB (2048 bytes)"
        assert told["created_at"].endswith("s ago)")
        assert told["expires_at"] == "-"
        (as_json,) = lines(run("show", file_id, "--json"))
        assert as_json["filename"] == "a.jsonl"

    def test_one_of_two_is_not_there(self, run: Run, upstream: Upstream) -> None:
        file_id = upstream.add_file(b"x")
        result = run("show", "file-no", file_id, "--json")
        assert result.exit_code == 1
        assert [line["id"] for line in lines(result)] == [file_id]
        assert "file-no: No such File object: file-no (404)" in result.stderr
        assert "1 file of 2 could not be shown." in result.stderr


class TestDownload:
    def test_to_its_own_name(self, run: Run, upstream: Upstream, tmp_path: Path) -> None:
        content = bytes(range(256)) * 5000
        file_id = upstream.add_file(content, filename="../out.jsonl")
        result = run("download", file_id, "--json")
        assert result.exit_code == 0
        assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
        assert (tmp_path / "out.jsonl").read_bytes() == content
        assert lines(result) == [
            {
                "id": file_id,
                "path": "out.jsonl",
                "bytes": len(content),
                "sha256": sha256(content),
            }
        ]

    def test_several_to_a_folder(self, run: Run, upstream: Upstream, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        ids = [upstream.add_file(b"1", filename="a"), upstream.add_file(b"2", filename="b")]
        result = run("download", *ids, "-o", "out")
        assert result.exit_code == 0
        assert (tmp_path / "out" / "a").read_bytes() == b"1"
        assert f"{ids[1]}  out/b  1 B  sha256 {sha256(b'2')}" in result.stdout
        assert run("download", *ids, "-o", "elsewhere").exit_code == 2

    def test_to_stdout(self, run: Run, upstream: Upstream) -> None:
        content = bytes(range(256)) * 2000
        result = run("download", upstream.add_file(content), "-o", "-")
        assert (result.exit_code, result.stdout_bytes) == (0, content)
        assert run("download", "a", "b", "-o", "-").exit_code == 2
        assert run("download", "file-no", "-o", "-").exit_code == 1

    def test_stdout_that_breaks_off(self, run: Run, upstream: Upstream) -> None:
        file_id = upstream.add_file(b"x" * 3_000_000)
        upstream.cut_next(after=1_000_000)
        result = run("download", file_id, "-o", "-")
        assert result.exit_code == 1
        assert "broke off" in result.stderr

    def test_nothing_is_replaced_unasked(
        self, run: Run, upstream: Upstream, tmp_path: Path
    ) -> None:
        file_id = upstream.add_file(b"new", filename="a")
        (tmp_path / "a").write_bytes(b"old")
        result = run("download", file_id)
        assert result.exit_code == 1
        assert "a is there already: --force replaces it." in result.stderr
        assert (tmp_path / "a").read_bytes() == b"old"
        assert run("download", file_id, "--force").exit_code == 0
        assert (tmp_path / "a").read_bytes() == b"new"

    def test_goes_on_where_it_broke_off(
        self, run: Run, upstream: Upstream, tmp_path: Path
    ) -> None:
        content = hashlib.sha512(b"seed").digest() * 60_000
        file_id = upstream.add_file(content, filename="a")
        upstream.answer_next(200, body=b"{}")  # For the metadata, without a length.
        upstream.cut_next(after=2_000_000)
        result = run("download", file_id, "-o", "a", "--json")
        assert result.exit_code == 0
        assert lines(result)[0]["sha256"] == sha256(content)
        _, first, second = upstream.requests
        assert "Range" not in first.headers
        assert second.headers["Range"].startswith("bytes=")
        assert second.headers["If-Range"] == f'"{file_id}"'
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_goes_on_in_the_next_run(
        self, run: Run, upstream: Upstream, tmp_path: Path
    ) -> None:
        content = hashlib.sha512(b"seed").digest() * 60_000
        file_id = upstream.add_file(content, filename="a")
        # The metadata come, and each try breaks: the first one late, the others at once.
        upstream.cut_next(after=10_000_000)
        upstream.cut_next(after=2_000_000)
        upstream.answer_next(503, times=3)
        result = run("download", file_id)
        assert result.exit_code == 1
        assert "run the command again to go on" in result.stderr
        part, etag = sorted(tmp_path.iterdir(), key=lambda path: len(path.name))
        assert 0 < part.stat().st_size <= 2_000_000
        assert etag.name == f"{part.name}.etag"
        have = part.stat().st_size
        assert part.read_bytes() == content[:have]
        seen = len(upstream.requests)
        result = run("download", file_id)
        assert result.exit_code == 0
        assert (tmp_path / "a").read_bytes() == content
        assert upstream.requests[seen + 1].headers["Range"] == f"bytes={have}-"
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    @pytest.mark.parametrize("has_etag", [True, False])
    def test_a_part_that_is_of_another_version(
        self, run: Run, upstream: Upstream, tmp_path: Path, has_etag: bool
    ) -> None:
        content = b"right\n" * 1000
        file_id = upstream.add_file(content, filename="a")
        mark = sha256(file_id.encode())[:8]
        part = tmp_path / f"a.{mark}.part"
        # Longer than the file without the version's tag, so that it can be told.
        part.write_bytes(b"wrong" * (10 if has_etag else 2000))
        if has_etag:
            part.with_name(f"{part.name}.etag").write_text('"other"')
        assert run("download", file_id).exit_code == 0
        assert (tmp_path / "a").read_bytes() == content
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_a_part_that_is_a_link_is_not_written_through(
        self, run: Run, upstream: Upstream, tmp_path: Path
    ) -> None:
        """In a folder where others may write, it can lead to any file of this user's."""
        file_id = upstream.add_file(b"0123456789", filename="a")
        mine = tmp_path / "mine"
        mine.write_bytes(b"0123")
        (tmp_path / f"a.{sha256(file_id.encode())[:8]}.part").symlink_to(mine)
        assert run("download", file_id).exit_code == 0
        assert mine.read_bytes() == b"0123"
        assert (tmp_path / "a").read_bytes() == b"0123456789"
        assert not (tmp_path / "a").is_symlink()

    def test_a_provider_without_ranges(
        self, run: Run, upstream: Upstream, tmp_path: Path
    ) -> None:
        file_id = upstream.add_file(b"0123456789", filename="a")
        mark = sha256(file_id.encode())[:8]
        (tmp_path / f"a.{mark}.part").write_bytes(b"0123")
        upstream.cut_next(after=10_000_000)
        upstream.answer_next(200, body=b"0123456789", headers={"Content-Type": "text/plain"})
        assert run("download", file_id).exit_code == 0
        assert (tmp_path / "a").read_bytes() == b"0123456789"

    def test_one_that_is_not_there(self, run: Run, tmp_path: Path) -> None:
        for arguments in ((), ("-o", "a")):
            result = run("download", "file-no", *arguments)
            assert result.exit_code == 1
            assert "No such File object: file-no (404)" in result.stderr
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_there(self, run: Run, upstream: Upstream) -> None:
        result = run("download", upstream.add_file(b"x"), "-o", "no/where", "--json")
        assert result.exit_code == 1
        assert "No such file or directory" in lines(result)[0]["error"]["message"]

    @pytest.mark.parametrize(
        ("name", "safe"),
        [
            ("a.jsonl", "a.jsonl"),
            ("/etc/passwd", "passwd"),
            ("..\\..\\a", "a"),
            ("..", "file"),
            ("", "file"),
            ("a\x00b\n", "a\ufffdb\ufffd"),
            ("a\ud800.txt", "a\ufffd.txt"),
            # What shells and others read of their own accord.
            (".bashrc", "bashrc"),
            ("/home/.. .a.b", "a.b"),
            ("n" * 300 + ".jsonl", "n" * 194 + ".jsonl"),
            ("é" * 127, "é" * 100),
            ("a." + "n" * 300, "a." + "n" * 198),
        ],
    )
    def test_names(self, name: str, safe: str) -> None:
        assert safe_name(name) == safe


class TestDelete:
    def test_several(self, run: Run, upstream: Upstream) -> None:
        ids = [upstream.add_file(b"x") for _ in range(3)]
        result = run("delete", *ids[:2], ids[0], "--yes")
        assert result.exit_code == 0
        assert result.stdout == f"{ids[0]}  deleted\n{ids[1]}  deleted\n"
        assert [file.id for file in upstream.files] == ids[2:]

    def test_one_fails(self, run: Run, upstream: Upstream) -> None:
        file_id = upstream.add_file(b"x")
        result = run("delete", "file-no", file_id, "--yes", "--json")
        assert result.exit_code == 1
        first, second = lines(result)
        assert (first["id"], first["deleted"], first["error"]["status"]) == (
            "file-no",
            False,
            404,
        )
        assert second == {"id": file_id, "deleted": True}
        assert upstream.files == []

    def test_nobody_to_ask(self, run: Run, upstream: Upstream) -> None:
        file_id = upstream.add_file(b"x")
        result = run("delete", file_id)
        assert result.exit_code == 2
        assert "--yes deletes without asking" in result.stderr
        assert len(upstream.files) == 1


class TestPurge:
    @pytest.fixture
    def ids(self, upstream: Upstream) -> list[str]:
        return [
            upstream.add_file(b"x" * 1024, filename="old"),
            upstream.add_file(b"x" * 2048, filename="old too", purpose="evals"),
        ]

    def test_only_shows_at_first(self, run: Run, upstream: Upstream, ids: list[str]) -> None:
        result = run("purge", "--older-than", "0s")
        assert result.exit_code == 0
        assert all(file_id in result.stdout for file_id in ids)
        assert result.stderr == "2 files, 3.0 KiB: --yes deletes them.\n"
        assert len(upstream.files) == 2
        told = lines(run("purge", "--older-than", "0s", "--json"))
        assert [line["deleted"] for line in told] == [False, False]

    def test_deletes(self, run: Run, upstream: Upstream, ids: list[str]) -> None:
        result = run("purge", "--older-than", "0s", "--purpose", "evals", "--yes")
        assert result.exit_code == 0
        assert result.stdout == f"{ids[1]}  deleted\n"
        assert result.stderr == "Deleted 1 file, 2.0 KiB.\n"
        assert [file.id for file in upstream.files] == ids[:1]

    def test_younger_ones_stay(self, run: Run, upstream: Upstream, ids: list[str]) -> None:
        result = run("purge", "--older-than", "1h", "--yes")
        assert (result.exit_code, result.stderr) == (0, "Deleted 0 files, 0 B.\n")
        assert "Nothing to delete." in run("purge", "--older-than", "1h").stderr
        assert len(upstream.files) == 2

    def test_files_of_unknown_age_stay(self, run: Run, upstream: Upstream) -> None:
        page = {"data": [{"id": "a", "bytes": 1}, {"id": "b", "created_at": None}]}
        upstream.answer_next(200, body=json.dumps(page).encode())
        assert "Nothing to delete." in run("purge", "--older-than", "0s").stderr

    def test_strange_ids(self, run: Run, upstream: Upstream) -> None:
        ids = ["file-\u202e1", ["file-2"], 3]
        page = {"data": [{"id": file_id, "created_at": 1} for file_id in ids]}
        upstream.answer_next(200, body=json.dumps(page).encode())
        upstream.answer_next(200, body=b'{"deleted": true}')
        result = run("purge", "--older-than", "0s", "--yes")
        assert (result.exit_code, result.stdout) == (0, "file-\ufffd1  deleted\n")
        assert len(upstream.requests) == 2

    def test_what_could_not_be_deleted(
        self, run: Run, upstream: Upstream, ids: list[str]
    ) -> None:
        upstream.cut_next(after=10_000_000)
        upstream.answer_next(400)
        result = run("purge", "--older-than", "0s", "--yes", "--json")
        assert result.exit_code == 1
        assert [line["deleted"] for line in lines(result)] == [False, True]
        assert "Deleted 1 file, 1.0 KiB." in result.stderr
        assert "1 file of 2 could not be deleted." in result.stderr

    def test_an_age_is_needed(self, run: Run) -> None:
        assert run("purge", "--yes").exit_code == 2


def test_a_prompt_before_a_deletion(
    app: Flask, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The runner's stdin is no terminal.
    monkeypatch.setattr("flask_portkey_files.cli.removal.asks", lambda: True)
    file_id = upstream.add_file(b"x")
    args = ["portkey-files", "delete", "--provider", "own", file_id]
    result = app.test_cli_runner().invoke(args=args, input="n\n")
    assert (result.exit_code, len(upstream.files)) == (1, 1)
    assert f"Delete {file_id}?" in result.stderr
    result = app.test_cli_runner().invoke(args=args, input="y\n")
    assert (result.exit_code, len(upstream.files)) == (0, 0)
