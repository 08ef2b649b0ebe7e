"""Plugins are found from metadata, loaded one by one, and fail one by one."""

import signal
import sys

import pytest

from priorkit.core import Sampler
from priorkit.errors import PluginError, UsageError
from priorkit.registry import CONTRACT, KINDS, Registry


def health(registry, key):
    return next(registry.health(entry) for entry in registry.entries if entry.key == key)


def test_own_plugins_are_listed_as_a_third_party_s_would_be():
    own = [entry for entry in Registry.discover().entries if entry.own]
    assert {"backbone.nvae", "prior.gaussian", "trainer.two-phase"} <= {entry.key for entry in own}
    assert [entry.kind for entry in own] == sorted((entry.kind for entry in own), key=KINDS.index)


def test_listing_imports_nothing_and_loading_only_what_is_named(distribute, logger_source):
    modules = {"vendor_a": logger_source, "vendor_b": logger_source}
    distribute("vendor", {"logger.a": "vendor_a:Mine", "logger.b": "vendor_b:Mine"}, modules)
    registry = Registry.discover()
    assert {"a", "b"} <= set(registry.names("logger"))
    assert "vendor_a" not in sys.modules
    assert registry.load("logger", "a").__name__ == "Mine"
    assert "vendor_b" not in sys.modules
    entry = registry.resolve("logger", "a")
    assert (entry.distribution, entry.version, entry.target, entry.own) == ("vendor", "1.0", "vendor_a:Mine", False)


def test_one_broken_import_costs_one_line_and_keeps_its_traceback(distribute, logger_source):
    modules = {"broken_import": "1 / 0", "sound": logger_source}
    distribute("vendor", {"logger.bad": "broken_import:X", "logger.good": "sound:Mine"}, modules)
    registry = Registry.discover()
    with pytest.raises(PluginError, match=r"logger\.bad of vendor 1\.0 \(broken_import:X\).*ZeroDivisionError") as caught:
        registry.load("logger", "bad")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "\n" not in str(caught.value)
    assert "broken_import.py" in registry.record(registry.resolve("logger", "bad")).traceback
    assert registry.load("logger", "good")
    assert health(registry, "logger.bad").state == "broken"
    assert health(registry, "logger.good").state == "ok"


@pytest.mark.parametrize("source", ["import sys; sys.exit(0)", "import no_such_module_anywhere", "def broken(:", "x = 1"])
def test_whatever_a_module_does_stays_a_plugin_error(distribute, source):
    distribute("vendor", {"logger.bad": "hostile:Mine"}, {"hostile": source})
    sys.modules.pop("hostile", None)
    with pytest.raises(PluginError):
        Registry.discover().load("logger", "bad")


def test_what_a_module_prints_does_not_reach_standard_output(distribute, logger_source, capsys):
    distribute("vendor", {"logger.loud": "loud:Mine"}, {"loud": f"print('hello')\n{logger_source}"})
    Registry.discover().load("logger", "loud")
    assert capsys.readouterr().out == ""


def test_duplicate_names_name_both_distributions_and_are_resolved_by_one(distribute, logger_source):
    distribute("one-kit", {"logger.same": "one_kit:Mine"}, {"one_kit": logger_source})
    distribute("two-kit", {"logger.same": "two_kit:Mine"}, {"two_kit": logger_source}, version="2.0")
    registry = Registry.discover()
    with pytest.raises(PluginError, match=r"one-kit 1\.0 and two-kit 2\.0.*one-kit:same"):
        registry.load("logger", "same")
    assert registry.load("logger", "two_kit:same").__module__ == "two_kit"
    assert health(registry, "logger.same").state == "duplicate"
    assert "two-kit 2.0" in health(registry, "logger.same").problem


def test_switching_one_of_two_off_leaves_the_other(distribute, logger_source, monkeypatch):
    distribute("one-kit", {"logger.same": "one_kit_b:Mine"}, {"one_kit_b": logger_source})
    distribute("two-kit", {"logger.same": "two_kit_b:Mine"}, {"two_kit_b": logger_source})
    monkeypatch.setenv("PRIORKIT_DISABLE_PLUGINS", "one_kit")
    assert Registry.discover().load("logger", "same").__module__ == "two_kit_b"


def test_a_name_of_our_own_stays_ours_and_the_newcomer_is_told_of(distribute, caplog):
    distribute("vendor", {"prior.gaussian": "taker:Mine"}, {"taker": "from priorkit_ncp import NcpPrior as Mine"})
    registry = Registry.discover()
    assert registry.resolve("prior", "gaussian").own
    assert registry.find("gaussian").own and registry.find("prior.gaussian").own
    said = "'gaussian' is a built-in prior of priorkit; write 'vendor:gaussian' for this one"
    assert caplog.messages == [f"plugin prior.gaussian of vendor 1.0 is ignored: {said}"]
    ours, theirs = (entry for entry in registry.entries if entry.key == "prior.gaussian")
    assert (registry.health(ours).state, registry.health(theirs).state) == ("ok", "duplicate")
    assert registry.health(theirs).problem == said
    assert registry.resolve("prior", "vendor:gaussian") == theirs == registry.find("vendor:prior.gaussian")
    assert registry.find("prior.vendor:gaussian") == theirs
    assert len(caplog.messages) == 1


def test_nobody_is_told_of_names_that_are_not_used(distribute, caplog):
    distribute("vendor", {"prior.gaussian": "nowhere:Mine"})
    registry = Registry.discover()
    assert registry.resolve("sampler", "mala").own and registry.resolve("prior", "priorkit:gaussian").own
    assert caplog.messages == []


def test_first_distribution_on_the_path_hides_an_older_one(tmp_path, distribute, logger_source):
    distribute("vendor", {"logger.a": "hidden:Mine"}, {"hidden": logger_source})
    later = tmp_path / "later"
    (later / "vendor-0.1.dist-info").mkdir(parents=True)
    (later / "vendor-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor\nVersion: 0.1\n")
    (later / "vendor-0.1.dist-info" / "entry_points.txt").write_text("[priorkit]\nlogger.a = old:Mine\n")
    sys.path.append(str(later))
    try:
        assert Registry.discover().resolve("logger", "a").version == "1.0"
    finally:
        sys.path.remove(str(later))


def test_newer_contract_is_refused(distribute, logger_source):
    source = f"{logger_source}\n    requires_contract = {CONTRACT + 1}\n"
    distribute("vendor", {"logger.new": "newer:Mine"}, {"newer": source})
    with pytest.raises(PluginError, match=f"needs contract {CONTRACT + 1}, but .* has {CONTRACT}: upgrade"):
        Registry.discover().load("logger", "new")


CLASSES = """
from priorkit.core import Chain, Sampler
class Partial(Sampler): pass
class Options: pass
class Odd(Sampler):
    Config = Options
    def run(self, log_prob, start, *, generator=None, keep_every=0): return Chain(start)
class Good(Sampler):
    def __init__(self, settings): self.settings = settings
    def run(self, log_prob, start, *, generator=None, keep_every=0): return Chain(start)
"""


def test_class_must_fulfil_its_kinds_contract(distribute):
    names = {"sampler.partial": "classes:Partial", "sampler.odd": "classes:Odd", "sampler.good": "classes:Good"}
    names |= {"sampler.wrong": "classes:Options", "prior.wrong": "classes:Good"}
    distribute("vendor", names, {"classes": CLASSES})
    registry = Registry.discover()
    assert issubclass(registry.load("sampler", "good"), Sampler)
    for kind, name, message in [
        ("sampler", "partial", "does not define run"),
        ("sampler", "odd", "Config must be a subclass of priorkit.core.Settings"),
        ("sampler", "wrong", "subclass of priorkit.core.Sampler"),
        ("prior", "wrong", "subclass of priorkit.core.Prior"),
    ]:
        with pytest.raises(PluginError, match=message):
            registry.load(kind, name)


def test_unknown_names_are_told_the_nearest():
    registry = Registry.discover()
    with pytest.raises(UsageError, match=r"unknown prior 'multistge': did you mean 'multistage'\?.*gaussian"):
        registry.load("prior", "multistge")
    with pytest.raises(UsageError, match="unknown prior 'gone:gaussian': gone is not installed"):
        registry.load("prior", "gone:gaussian")
    with pytest.raises(UsageError, match=r"unknown prior 'priorkit:multistge': of priorkit, did you mean 'multistage'"):
        registry.load("prior", "priorkit:multistge")
    with pytest.raises(UsageError, match="'nvae' is a backbone"):
        registry.load("prior", "nvae")
    with pytest.raises(UsageError, match="unknown kind of plugin 'priors'"):
        registry.load("priors", "gaussian")
    with pytest.raises(UsageError, match="did you mean 'multistage'"):
        registry.find("multistge")


def test_find_takes_all_ways_of_naming(distribute, logger_source):
    distribute("vendor", {"logger.gaussian": "found:Mine"}, {"found": logger_source})
    registry = Registry.discover()
    assert registry.find("nvae") == registry.find("backbone.nvae") == registry.find("priorkit:backbone.nvae")
    with pytest.raises(UsageError, match=r"write logger\.gaussian or prior\.gaussian"):
        registry.find("gaussian")
    assert registry.find("vendor:gaussian").kind == "logger"


@pytest.mark.parametrize(
    ("variable", "value", "usable"),
    [
        ("PRIORKIT_PLUGINS", "one-kit", {"a"}),
        ("PRIORKIT_PLUGINS", "logger.b,one_kit", {"a", "b"}),
        ("PRIORKIT_PLUGINS", "", set()),
        ("PRIORKIT_DISABLE_PLUGINS", "one-kit", {"b"}),
        ("PRIORKIT_DISABLE_PLUGINS", "logger.b, logger.tensorboard", {"a"}),
    ],
)
def test_variables_choose(distribute, monkeypatch, variable, value, usable):
    distribute("one-kit", {"logger.a": "one_kit_c:Mine"})
    distribute("two-kit", {"logger.b": "two_kit_c:Mine"})
    monkeypatch.setenv(variable, value)
    registry = Registry.discover()
    assert set(registry.names("logger")) - {"tensorboard", "wandb"} == usable
    assert ("tensorboard" in registry.names("logger")) == ("logger.tensorboard" not in value)
    assert "nvae" in registry.names("backbone")
    for name in {"a", "b"} - usable:
        assert health(registry, f"logger.{name}").state == "disabled"
        with pytest.raises(UsageError, match=variable):
            registry.load("logger", name)


def test_a_variable_that_names_nothing_is_noted(monkeypatch):
    monkeypatch.setenv("PRIORKIT_DISABLE_PLUGINS", "no-such-kit")
    assert "no-such-kit" in Registry.discover().notes()[0]


def test_bad_declarations_hurt_nobody_else(distribute, logger_source):
    entries = {"oddball": "x:Y", "priors.mine": "x:Y", "prior.mine": "no_class", "logger.fine": "fine:Mine"}
    distribute("vendor", entries, {"fine": logger_source})
    distribute("unreadable", "this is no entry point")
    registry = Registry.discover()
    problems = [registry.health(entry).problem for entry in registry.entries if not entry.own]
    for part in ("must be called KIND.NAME", "unknown kind 'priors'", "not an import string", "cannot be read"):
        assert any(part in problem for problem in problems), part
    assert registry.load("logger", "fine")
    assert "mine" not in registry.names("prior")


HOSTILE = {
    "own class": "class Mine(BaseException): pass\nraise Mine('away')",
    "generator": "raise GeneratorExit",
    "interrupt": "raise KeyboardInterrupt",
    "no message": "class Mine(Exception):\n    def __str__(self): raise ValueError\nraise Mine",
    "neither": "class Mine(BaseException):\n    def __str__(self): raise KeyError\nraise Mine",
    "exit": "raise SystemExit",
    "memory": "raise MemoryError",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_an_import_raises_breaks_that_plugin_alone(distribute, case):
    module = f"hostile_{case.replace(' ', '_')}"
    distribute("vendor", {"logger.bad": f"{module}:Mine"}, {module: HOSTILE[case]})
    registry = Registry.discover()
    found = health(registry, "logger.bad")
    assert found.state == "broken" and found.problem.startswith("its import failed with ") and "\n" not in found.problem
    assert registry.record(registry.resolve("logger", "bad")).traceback


def test_the_users_own_interrupt_is_heard(distribute):
    source = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(10)"
    distribute("vendor", {"logger.slow": "slow_import:Mine"}, {"slow_import": source})
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            Registry.discover().load("logger", "slow")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outside)


LOUD = """
import ctypes, os, sys
print('print')
sys.__stdout__.write('kept stream')
os.write(1, b'descriptor')
ctypes.CDLL(None).puts(b'library in C')
"""


def test_nothing_that_an_import_writes_reaches_standard_output(distribute, logger_source, capfd):
    distribute("vendor", {"logger.loud": "loud_in_all_ways:Mine"}, {"loud_in_all_ways": LOUD + logger_source})
    assert Registry.discover().load("logger", "loud")
    told = capfd.readouterr()
    assert told.out == ""
    assert all(part in told.err for part in ("print", "descriptor", "library in C"))


@pytest.mark.parametrize("content", [b"Name: caf\xe9\nVersion: 1\n", b"\xff\xfe\0", b"", None])
def test_a_package_whose_metadata_cannot_be_read_is_called_by_its_folder(tmp_path, distribute, logger_source, content):
    distribute("vendor", {"logger.a": "unnamed_vendor:Mine"}, {"unnamed_vendor": logger_source})
    metadata = tmp_path / "vendor-1.0.dist-info" / "METADATA"
    metadata.unlink() if content is None else metadata.write_bytes(content)
    entry = Registry.discover().resolve("logger", "a")
    assert (entry.distribution, entry.version) == ("vendor", "?")
    assert Registry.discover().load("logger", "vendor:a")
