"""What pytest compiles the test files to, shared among test processes: each compiles its part before all collect.

On a fresh checkout every one of them would compile all files, for half a minute. Where pytest has changed inside, that
is what happens again.
"""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def compile_part(config: pytest.Config, number: int, count: int) -> None:
    """The part of test process `number` of so many, from 0 on: of those files that are not compiled yet."""
    try:
        from _pytest.assertion import rewrite
        from _pytest.assertion.rewrite import PYC_TAIL, _read_pyc, _rewrite_test, _write_pyc, get_cache_dir

        state = config.stash[rewrite.assertstate_key]
    except (ImportError, AttributeError, KeyError):
        return
    if sys.dont_write_bytecode:
        return
    for path in sorted(TESTS.rglob("test_*.py"))[number::count]:
        folder = get_cache_dir(path)
        folder.mkdir(parents=True, exist_ok=True)
        compiled = folder / (path.name[:-3] + PYC_TAIL)
        if _read_pyc(path, compiled) is None:
            digest, code = _rewrite_test(path, config)
            _write_pyc(state, code, digest, compiled)
