"""The code blocks of the documentation, and what a comment right above one says of it."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?:[ ]*<!--[ ]*(?P<note>[^\n]*?)[ ]*-->\n)?"
    r"(?P<indent>[ ]*)```[ ]*(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block; `note` is the comment above it without its brackets."""

    page: str
    line: int
    language: str
    code: str
    note: str

    @property
    def place(self) -> str:
        """Where it begins, as an editor opens it."""
        return f"{self.page}:{self.line}"

    @property
    def reason(self) -> str:
        """Why it is not run; empty where it is."""
        return self.note.removeprefix("not run:").strip() if self.note.startswith("not run:") else ""

    @property
    def file(self) -> str:
        """The file that a reader saves it as; empty where there is none."""
        return self.note.removeprefix("file:").strip() if self.note.startswith("file:") else ""


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    found = []
    for match in BLOCK.finditer(text):
        indent, code = len(match["indent"]), match["code"]
        code = "".join(line[indent:] if line.strip() else line for line in code.splitlines(keepends=True))
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(name, line, match["language"], code, match["note"] or ""))
    return found


def commands(block: Block) -> list[str]:
    """The lines of a shell block, continued ones joined, comments and empty ones left out."""
    lines = [line.strip() for line in block.code.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
