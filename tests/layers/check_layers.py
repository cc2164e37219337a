#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the layers: `make check-layers`.  The table is in rules.py.

From the compiler, for every source and header.  For a source the build has asked already: its .d tells, where it is newer than
all the files that it names.
    include     a file of ours that the module may not reach, directly or through others
    library     a library's header that the module may not reach, or a second file for a library that one file holds
    header      a pure module's own #include <...> that is not on its list
    alone       a header that does not compile by itself, or not twice
From the objects (nm):
    pure        election/ and agent/core/ call something that is not pure, or keep data that can change
    codec       a codec calls something that does I/O
    prefix      a name that begins like a library's
From the text:
    function    over 70 lines
    file        over 600 lines
    parameters  over 5: told, not counted as a failure

Prints one line for each finding, `place: rule: what`, and exits 1 if there is any that counts.  --self-test plants each of
these in a copy and expects it to be found.
"""

import argparse
import concurrent.futures
import functools
import os
import pathlib
import re
import shlex
import subprocess
import sys

import rules

PACKAGES = ("libmnl", "libnftnl", "libnl-3.0", "libcurl", "jansson", "yaml-0.1", "libmicrohttpd")


def run(command, cwd, text=None):
    return subprocess.run(command, cwd=cwd, input=text, capture_output=True, text=True, check=False)


NAMES = {}  # (object, st_mtime_ns): the cells of each line that nm prints for it


def read_names(objects):
    """Fills NAMES for [(object, st_mtime_ns)], in one run of nm for those that are new."""
    new = {obj: [] for obj, changed_ns in objects if (obj, changed_ns) not in NAMES}
    if not new:
        return
    out = run(["nm", "-A", "-f", "sysv", *new], None)
    if out.returncode != 0:
        sys.exit(out.stderr)
    for line in out.stdout.split("\n"):
        obj, _, rest = line.partition(":")
        cells = [cell.strip() for cell in rest.split("|")]
        if len(cells) >= 7:
            new[obj].append(cells)
    NAMES.update((key, new[key[0]]) for key in objects if key[0] in new)


@functools.lru_cache(maxsize=None)
def libraries_of(name):
    """The libraries that a header is of."""
    return frozenset(library for library, pattern, _, _ in rules.LIBRARIES if pattern.search(name))


def default_cppflags():
    out = run(["pkg-config", "--cflags", *PACKAGES], None).stdout
    return ["-I.", "-D_GNU_SOURCE", *shlex.split(out)]


class Checker:
    """One tree, one compiler, one build directory.  Findings are (place, rule, what)."""

    def __init__(self, top, cc, build, cppflags):
        self.top = pathlib.Path(top)
        self.cc = shlex.split(cc)
        self.build = self.top / build
        self.cppflags = cppflags
        self.findings = []
        self.unbuilt = 0
        self.library_files = {}
        self.times = {}

    def find(self, place, rule, what):
        self.findings.append((place, rule, what))

    # ---- files ----

    def files(self):
        """Every C file of ours: sources of the program, then tests."""
        paths = []
        for folder in (*rules.SOURCE_FOLDERS, rules.TEST_FOLDER):
            for p in sorted((self.top / folder).rglob("*.[ch]")):
                paths.append(str(p.relative_to(self.top)))
        return paths

    # ---- the preprocessor ----

    def ask(self, path, times, *flags):
        """What the compiler says of a file that includes 'path' so many times; stdout is like a .d."""
        return run([*self.cc, *self.cppflags, "-std=gnu11", *flags, "-MT", "-", "-x", "c", "-"], self.top,
                   f'#include "{path}"\n' * times)

    def written(self, name):
        """When a file was last written, in ns; None when it is not there."""
        if name not in self.times:
            place = self.top / name
            self.times[name] = place.stat().st_mtime_ns if place.exists() else None
        return self.times[name]

    def split(self, rules_text):
        """(our files, foreign files) of the first rule of a .d: all that is included, however deep."""
        first = re.split(r"(?<!\\)\n", rules_text, maxsplit=1)[0]
        names = first.split(":", 1)[1].replace("\\\n", " ").split()
        ours = [os.path.normpath(name) for name in names if name[0] not in "-/"]
        return ours, [name for name in names if name[0] == "/"]

    def built(self, path):
        """What a source includes, as the build has seen it; None when it has not, or a file was changed since."""
        told = self.object_of(path).with_suffix(".d")
        if not told.exists():
            return None
        ours, foreign = self.split(told.read_text(encoding="utf-8"))
        times = [self.written(name) for name in (path, *ours, *foreign)]
        # By -MMD it would have no foreign files.
        if not foreign or None in times or max(times) >= told.stat().st_mtime_ns:
            return None
        return ours, foreign

    def reached(self, path, out):
        """(our files, foreign files) in what the compiler said; None when it does not preprocess."""
        if not out.stdout:
            self.find(path, "include", "does not preprocess: " + out.stderr.strip().split("\n")[0])
            return None
        return self.split(out.stdout)

    def check_includes(self, path, module, reached):
        ours, foreign = reached
        for other in ours:
            other_module = rules.module_of(other)
            if other != path and other_module not in rules.MAY_INCLUDE[module]:
                self.find(path, "include", f"{module} may not reach {other} ({other_module or 'not a module'})")
        libraries = frozenset().union(*map(libraries_of, foreign))
        for name, _, modules, single in rules.LIBRARIES:
            if name not in libraries:
                continue
            if module not in modules:
                self.find(path, "library", f"{module} may not reach {name}")
            elif single:
                self.library_files.setdefault(name, []).append(path)

    def check_single(self):
        for name, paths in sorted(self.library_files.items()):
            for path in paths[1:]:
                self.find(path, "library", f"{name} is held by {paths[0]} alone")

    def check_headers(self, path, text):
        for line, name in re.findall(r"^([ \t]*#[ \t]*include[ \t]*<([^>]+)>)", text, re.M):
            if name not in rules.PURE_HEADERS:
                self.find(path, "header", f"{line.strip()} in a pure module")

    def check_alone(self, path, out):
        if out.returncode != 0:
            errors = [line for line in out.stderr.split("\n") if "error" in line] or [out.stderr]
            self.find(path, "alone", errors[0])

    # ---- the text ----

    def check_lengths(self, path, text):
        lines = text.split("\n")
        if len(lines) - 1 > rules.FILE_LINES_MAX:
            self.find(path, "file", f"{len(lines) - 1} lines (at most {rules.FILE_LINES_MAX})")
        start = None
        for number, line in enumerate(lines):
            if line == "{":
                start = number
                self.check_parameters(path, lines, number)
            elif line.startswith("}") and start is not None:
                if number - start + 1 > rules.FUNCTION_LINES_MAX:
                    self.find(f"{path}:{start + 1}", "function",
                              f"{number - start + 1} lines (at most {rules.FUNCTION_LINES_MAX})")
                start = None

    def check_parameters(self, path, lines, brace):
        """The declarator above a brace in the first column: commas between its last outer parentheses."""
        head, depth, commas = "", 0, 0
        first = brace - 1
        while first > 0 and not re.match(r"[A-Za-z_]", lines[first]):
            first -= 1
        head = " ".join(lines[first:brace])
        for char in head[head.find("("):]:
            depth += (char == "(") - (char == ")")
            commas += char == "," and depth == 1
            if depth == 0:
                break
        if commas >= rules.PARAMETERS_MAX:
            self.find(f"{path}:{first + 1}", "parameters", f"{commas + 1} (at most {rules.PARAMETERS_MAX}, else a struct)")

    # ---- the objects ----

    def object_of(self, path):
        return self.build / (path[:-2] + ".o")

    def object_key(self, path):
        """(object, when it was written) of a source, None when there is none or an old one."""
        obj = self.object_of(path)
        when = self.written(obj)
        return None if when is None or when < self.written(path) else (str(obj), when)

    def symbols(self, path):
        """([undefined names], [(defined global name)], [(writable name)]) of a source's object, None if not built."""
        key = self.object_key(path)
        if key is None:
            return None
        undefined, defined, writable = [], [], []
        for cells in NAMES[key]:
            name, kind, section = cells[0], cells[2], cells[6]
            if kind in "Uw":
                undefined.append(name)
                continue
            if kind.isupper():
                defined.append(name)
            if kind in "CBbDdSsGg" and not section.startswith(".data.rel.ro"):
                writable.append(name)
        return undefined, defined, writable

    def pure_names(self, sources):
        """The functions that a pure module may call: of base, and by module those of election and core."""
        names = {"base": set(), "election": set(), "core": set()}
        for path in sources:
            module, stem = rules.module_of(path), pathlib.PurePath(path).stem
            if module not in names or (module == "base" and stem not in rules.PURE_BASE):
                continue
            found = self.symbols(path)
            if found:
                names[module].update(found[1])
        names["base"] -= rules.NOT_PURE
        names["election"] |= names["base"]
        names["core"] |= names["election"]
        return names

    def check_object(self, path, module, pure):
        stem = pathlib.PurePath(path).stem
        wanted_pure = module in rules.PURE_MODULES or (module == "base" and stem in rules.PURE_BASE)
        found = self.symbols(path)
        if found is None:
            if wanted_pure:
                self.find(path, "pure", f"{os.path.relpath(self.object_of(path), self.top)} is missing or old: build first")
            self.unbuilt += not wanted_pure
            return
        undefined, defined, writable = found
        for name in defined:
            if rules.TAKEN_PREFIX.match(name):
                self.find(path, "prefix", f"{name} begins like a library's name")
        for name in undefined:
            if module in rules.PURE_MODULES and not rules.PURE_CALLS.fullmatch(name) and name not in pure[module]:
                self.find(path, "pure", f"{module} may not call {name}")
            if module == "base" and wanted_pure and not rules.PURE_CALLS.fullmatch(name) and \
                    name not in pure["base"] and not rules.PURE_BASE[stem].fullmatch(name):
                self.find(path, "pure", f"the core relies on {path}, which may not call {name}")
            if module.endswith("codec") and rules.CODEC_NOT.fullmatch(name):
                self.find(path, "codec", f"a codec may not call {name}")
        if wanted_pure:
            for name in writable:
                self.find(path, "pure", f"{name} is data that can change")

    # ---- all of it ----

    def check_file(self, path):
        module = rules.module_of(path)
        text = (self.top / path).read_text(encoding="utf-8")
        self.check_lengths(path, text)
        header = path.endswith(".h")
        if header:
            said = self.ask(path, 2, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-MD", "-MF", "-")
            self.check_alone(path, said)
        if module is None:
            return
        if module in rules.PURE_MODULES:
            self.check_headers(path, text)
        if header:
            reached = self.reached(path, said)
        else:
            reached = self.built(path) or self.reached(path, self.ask(path, 1, "-M"))
        if reached is not None:
            self.check_includes(path, module, reached)

    def check(self, only=None):
        """All files, or those of 'only'; returns the findings, sorted."""
        every = self.files()
        files = [f for f in every if only is None or f in only]
        sources = [f for f in every if f.endswith(".c") and rules.module_of(f)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self.check_file, files))
        for paths in self.library_files.values():
            paths.sort()
        self.check_single()
        read_names([key for key in map(self.object_key, sources) if key])
        pure = self.pure_names(sources)
        for path in sources:
            if path in files:
                self.check_object(path, rules.module_of(path), pure)
        self.findings.sort()
        return self.findings


def main():
    parser = argparse.ArgumentParser(description="checks the layers of the tree")
    parser.add_argument("--cc", default="cc", help="the compiler")
    parser.add_argument("--build", default="build/release", help="where the objects are")
    parser.add_argument("--top", default=str(pathlib.Path(__file__).resolve().parents[2]), help="the tree")
    parser.add_argument("--cppflags", help="in place of what pkg-config says")
    parser.add_argument("--self-test", action="store_true", help="plant each violation in a copy and look for it")
    args = parser.parse_args()
    flags = shlex.split(args.cppflags) if args.cppflags else default_cppflags()
    if args.self_test:
        import planted  # pylint: disable=import-outside-toplevel

        return planted.self_test(args.top, args.cc, args.build, flags)
    checker = Checker(args.top, args.cc, args.build, flags)
    findings = checker.check()
    for place, rule, what in findings:
        print(f"{place}: {rule}: {what}")
    note = f" ({checker.unbuilt} objects not built, not looked at)" if checker.unbuilt else ""
    failures = [f for f in findings if f[1] not in rules.TOLD_ONLY]
    print(f"{len(checker.files())} files, {len(failures)} findings, {len(findings) - len(failures)} remarks{note}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.exit(main())
