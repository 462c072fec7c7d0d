from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bedrock_routing

ROOT = Path(str(bedrock_routing.__file__)).parents[1]
"""Where the packages are installed: the wheel is checked, not the checkout."""
PACKAGES = ("bedrock_routing", "langchain_bedrock_routing", "llama_index_bedrock_routing", "bedrock_local")
OURS = frozenset(PACKAGES)
PURE = frozenset(
    {
        "affinity",
        "arns",
        "assembly",
        "boundaries",
        "candidates",
        "catalog",
        "conversations",
        "diagnosis",
        "documents",
        "engine",
        "fleet_entries",
        "grouping",
        "history",
        "keep_warm",
        "kept",
        "language",
        "misses",
        "ordering",
        "places",
        "placing",
        "planning",
        "policy",
        "pricing",
        "primes",
        "recall",
        "prompts",
        "receipt",
        "request",
        "router_rules",
        "rules",
        "savings",
        "state",
        "staying",
        "tables",
        "turn",
        "usage",
    }
)
IMPURE = frozenset(
    {"boto3", "botocore", "os", "random", "secrets", "socket", "time", "urllib.request", "uuid"}
)


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, as a full name; also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""
            yield from (
                f"{node.module}.{each.name}" for each in node.names if is_module(node.module, each.name)
            )
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (each.value for each in node.args if isinstance(each, ast.Constant))


def is_module(package: str | None, name: str) -> bool:
    place = ROOT.joinpath(*(package or "").split("."), name)
    return place.with_suffix(".py").exists() or place.is_dir()


def allowed(source: str, wanted: str) -> bool:
    """Tell whether one of our modules may import another."""
    package, target = source.partition(".")[0], wanted.partition(".")[0]
    if target not in OURS or (package == target and not in_cli(wanted)):
        return True
    if in_cli(source):
        return True
    if package in ("langchain_bedrock_routing", "llama_index_bedrock_routing"):
        return wanted == "bedrock_routing"
    if package == "bedrock_local":
        return wanted in ("bedrock_routing.arns", "bedrock_routing.catalog")
    return False


def in_cli(module: str) -> bool:
    return module == "bedrock_routing.cli" or module.startswith("bedrock_routing.cli.")


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_arrows(package: str) -> None:
    """The adapter sees the core's public names, the local Bedrock its facts, and the core neither of them."""
    wrong = [
        f"{module_of(path)} -> {wanted}"
        for path in files(package)
        for wanted in imports(path)
        if not allowed(module_of(path), wanted)
    ]
    assert wrong == []


def test_the_walk_sees_all_packages() -> None:
    """A package that is moved or empty would otherwise pass unseen."""
    assert [bool(files(package)) for package in PACKAGES] == [True] * len(PACKAGES)


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_thinking_is_pure(name: str) -> None:
    """Planning, pricing and reading touch no network, clock, environment or chance."""
    path = ROOT / "bedrock_routing" / f"{name}.py"
    found = {each for wanted in imports(path) for each in (wanted, wanted.partition(".")[0])}
    assert found & IMPURE == set()
    text = path.read_text(encoding="utf-8")
    assert [each for each in (".now()", ".today()", "environ", "getenv") if each in text] == []


def test_the_core_works_without_a_framework() -> None:
    """`import bedrock_routing` loads neither LangChain nor LlamaIndex nor the local Bedrock."""
    code = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith(("langchain", "llama_index", "bedrock_local", "pydantic_ai")):
            raise ImportError(f"blocked: {name}")

sys.meta_path.insert(0, Blocker())
import bedrock_routing
print(len([getattr(bedrock_routing, name) for name in bedrock_routing.__all__]) > 10)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (run.stdout.strip(), run.stderr) == ("True", "")


@pytest.mark.parametrize("path", files("bedrock_routing"), ids=module_of)
def test_every_name_of_all_exists(path: Path) -> None:
    """Each module lists its public names, sorted, and has all of them."""
    if path.name == "__main__.py":
        pytest.skip("a module that runs when it is imported")
    if in_cli(module_of(path)):
        pytest.importorskip("rich")
    module = importlib.import_module(module_of(path))
    names = list(module.__all__)
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(set(names)) == len(names)


def test_the_root_lists_all_it_imports() -> None:
    """What the package's root imports of its own modules is public there."""
    tree = ast.parse((ROOT / "bedrock_routing" / "__init__.py").read_text(encoding="utf-8"))
    imported = {each.name for node in tree.body if isinstance(node, ast.ImportFrom) for each in node.names}
    assert imported == set(importlib.import_module("bedrock_routing").__all__)
