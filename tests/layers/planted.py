# SPDX-License-Identifier: Apache-2.0
"""The checker's own test: each violation, planted alone into a copy of the tree, must be found, and nothing else; what is
allowed must pass."""

import pathlib
import shutil
import tempfile

import check_layers
import rules

OK = None  # no finding expected

PURE = '#include <stdint.h>\n#include "agent/base/ip.h"\n\nint planted(int a);\nint planted(int a)\n{\n\treturn a + 1;\n}\n'
HOME = "static int x;\n\nint planted(void);\nint planted(void)\n{\n\treturn x;\n}\n"


def call(headers, body, name="planted"):
    lines = [f"#include {h}" for h in headers]
    return "\n".join([*lines, "", f"long {name}(void);", f"long {name}(void)", "{", f"\t{body}", "}", ""])


def include(*headers):
    return call(headers, "return 0;")


def function_of(lines):
    """A function whose braces are 'lines' apart, both counted."""
    return "void planted(void);\nvoid planted(void)\n{\n" + "\t;\n" * (lines - 2) + "}\n"


# (what, rule or OK, {path: text}); the first path is the one that must be named.  (text, text): as it was built, and as it was
# changed since, None for a file that was taken away.
PLANTED = (
    ("base reaches nothing of ours", "include", {"agent/base/planted.c": include('"agent/core/pool.h"')}),
    ("election does not reach the core", "include", {"election/planted.c": include('"agent/core/sort.h"')}),
    ("election does not reach the shell", "include", {
        "election/planted.c": include('"agent/planted.h"'), "agent/planted.h": "#pragma once\n"}),
    ("the core does not reach the API client", "include", {
        "agent/core/planted.c": include('"agent/kube/planted.h"'), "agent/kube/planted.h": "#pragma once\n"}),
    ("the core does not reach the kernel", "include", {
        "agent/core/planted.c": include('"netlink/planted.h"'), "netlink/planted.h": "#pragma once\n"}),
    ("netlink does not reach the core", "include", {"netlink/planted.c": include('"agent/core/diff.h"')}),
    ("netlink does not reach the election", "include", {"netlink/planted.c": include('"election/elect.h"')}),
    ("netlink does not reach the API client", "include", {
        "netlink/planted.c": include('"agent/kube/planted.h"'), "agent/kube/planted.h": "#pragma once\n"}),
    ("the API client does not reach the kernel", "include", {
        "agent/kube/planted.c": include('"netlink/planted.h"'), "netlink/planted.h": "#pragma once\n"}),
    ("a codec does not reach its folder's I/O", "include", {
        "netlink/planted_msg.c": include('"netlink/planted.h"'), "netlink/planted.h": "#pragma once\n"}),
    ("a JSON codec does not reach the client", "include", {
        "agent/kube/planted_json.c": include('"agent/kube/planted.h"'), "agent/kube/planted.h": "#pragma once\n"}),
    ("nobody reaches the tests", "include", {
        "agent/planted.c": include('"tests/planted.h"'), "tests/planted.h": "#pragma once\n"}),
    ("a program for the kernel reaches the map's layout alone", "include", {
        "netlink/bpf/planted.c": include('"netlink/planted.h"'), "netlink/planted.h": "#pragma once\n"}),
    ("and that it may", OK, {"netlink/bpf/planted.c": include('"netlink/gate.h"')}),
    ("what does not exist", "include", {"agent/planted.c": include('"agent/base/gone.h"')}),

    ("an include that is newer than the build", "include", {"netlink/planted.c": (include(), include('"agent/core/diff.h"'))}),
    ("one in a header, newer than the build", "include", {
        "netlink/planted.c": include('"netlink/planted.h"'),
        "netlink/planted.h": ("#pragma once\n", '#pragma once\n#include "agent/core/diff.h"\n')}),
    ("a library that is newer than the build", "library", {"agent/planted.c": (include(), include("<jansson.h>"))}),
    ("a header taken away since the build", "include", {
        "agent/planted.c": include('"agent/planted.h"'), "agent/planted.h": ("#pragma once\n", None)}),
    ("an include taken away since the build", OK, {"netlink/planted.c": (include('"agent/core/diff.h"'), include())}),
    ("what the build has found is believed", "include", {
        "netlink/planted.c": include(),
        "build/netlink/planted.d": ("", "it: netlink/planted.c agent/core/diff.h \\\n /usr/include/stdlib.h\n")}),
    ("unless it tells of our files alone", "library", {
        "agent/planted.c": include("<jansson.h>"), "build/agent/planted.d": ("", "it: agent/planted.c\n")}),

    ("jansson in the shell", "library", {"agent/planted.c": include("<jansson.h>")}),
    ("libcurl in the shell", "library", {"agent/planted.c": include("<curl/curl.h>")}),
    ("libmnl in the shell", "library", {"agent/planted.c": include("<libmnl/libmnl.h>")}),
    ("libyaml in the shell", "library", {"agent/planted.c": include("<yaml.h>")}),
    ("jansson in the client's I/O", "library", {"agent/kube/planted.c": include("<jansson.h>")}),
    ("libcurl in a codec", "library", {"agent/kube/planted_json.c": include("<curl/curl.h>")}),
    ("libcurl in netlink", "library", {"netlink/planted.c": include("<curl/curl.h>")}),
    ("libnl-3 in a codec", "library", {"netlink/planted_msg.c": include("<netlink/addr.h>")}),
    ("libmicrohttpd in the client", "library", {"agent/kube/planted.c": include("<microhttpd.h>")}),
    ("a second file for libyaml", "library", {"agent/base/yaml_planted.c": include("<yaml.h>"), "agent/base/yaml.c": None}),
    ("a second file for libnl-3", "library", {
        "netlink/planted_watch.c": include("<netlink/addr.h>"), "netlink/link_watch.c": None}),
    ("libbpf in the shell", "library", {"agent/planted.c": include("<bpf/bpf.h>")}),
    ("a second file for libbpf", "library", {
        "netlink/planted_gate.c": include("<bpf/libbpf.h>"), "netlink/gate_if.c": None}),
    ("helpers for programs outside of one", "library", {"netlink/planted.c": include("<linux/types.h>", "<bpf/bpf_endian.h>")}),
    ("a library through a header", "library", {
        "agent/planted.c": include('"agent/kube/planted.h"'),
        "agent/kube/planted.h": "#pragma once\n#include <curl/curl.h>\n"}),

    ("stdlib.h in the core", "header", {"agent/core/planted.c": include("<stdlib.h>")}),
    ("time.h in the election", "header", {"election/planted.c": include("<time.h>")}),
    ("stdio.h in a header of the core", "header", {"agent/core/planted.h": "#pragma once\n #  include <stdio.h>\n"}),

    ("a header that needs another", "alone", {"agent/planted.h": "#pragma once\nuint32_t planted(void);\n"}),
    ("a header without a guard", "alone", {"netlink/planted.h": "struct planted {\n\tint x;\n};\n"}),

    ("malloc in the core", "pure", {"agent/core/planted.c": call(['"agent/base/auto.h"'], "return (long)malloc(3);")}),
    ("qsort in the core", "pure", {"agent/core/planted.c": call(
        ['"agent/base/auto.h"'], "qsort(0, 0, 1, 0);\n\treturn 0;")}),
    ("strdup in the core", "pure", {"agent/core/planted.c": call(["<string.h>"], 'return (long)strdup("x");')}),
    ("errno in the election", "pure", {"election/planted.c": call(["<errno.h>"], "return errno;")}),
    ("the clock in the election", "pure", {"election/planted.c": call(['"agent/base/mono.h"'], "return mono_now().ns;")}),
    ("a log line in the core", "pure", {"agent/core/planted.c": call(
        ['"agent/base/log.h"'], 'log_write(LOG_INFO, "e", "m", NULL);\n\treturn 0;')}),
    ("printf by way of base", "pure", {"agent/core/planted.c": call(
        ['"agent/base/text.h"'], "char b[9];\n\n\treturn *text_of_ms(7, b, sizeof(b));")}),
    ("the core in the election", "pure", {"election/planted.c": call(
        [], "extern int place_usable(const void *);\n\n\treturn place_usable(0);")}),
    ("data that changes", "pure", {"agent/core/planted.c": "int planted(void);\nint planted(void)\n{\n\tstatic int n;\n\n"
                                                           "\treturn ++n;\n}\n"}),
    ("data that all can change", "pure", {"election/planted.c": "extern int planted_n;\nint planted_n = 3;\n"}),
    ("a pure file of base that is not", "pure", {"agent/base/mono.c": call(
        ["<time.h>", '"agent/base/mono.h"'], "return time(NULL);", "mono_planted")}),
    ("an object that is not there", "pure", {"agent/core/planted_unbuilt.c": PURE}),

    ("a codec that reads", "codec", {"netlink/planted_frame.c": call(
        ["<unistd.h>"], "char c;\n\n\treturn read(0, &c, 1);")}),
    ("a codec with a socket", "codec", {"agent/kube/planted_json.c": call(
        ["<sys/socket.h>"], "return socket(AF_INET, SOCK_STREAM, 0);")}),

    ("a name of libnl", "prefix", {"netlink/planted.c": call([], "return 0;", "nl_planted")}),
    ("a name of jansson", "prefix", {"agent/kube/planted_json.c": call([], "return 0;", "json_planted")}),

    ("71 lines", "function", {"agent/planted.c": function_of(71)}),
    ("71 lines in a header", "function", {"agent/planted.h": "#pragma once\nstatic inline " + function_of(71).split("\n", 1)[1]}),
    ("71 lines in a test", "function", {"tests/planted.c": function_of(71)}),
    ("601 lines", "file", {"agent/planted.c": "/* */\n" * 601}),
    ("6 parameters", "parameters", {"agent/planted.c": "void planted(int a, int b, int c, int d,\n\t     int (*e)(int, int), int f)\n{\n}\n"}),

    ("70 lines", OK, {"agent/planted.c": function_of(70)}),
    ("600 lines", OK, {"agent/planted.c": "/* */\n" * 600}),
    ("5 parameters", OK, {"agent/planted.c": "void planted(int a, int b, int c, int d,\n\t     int (*e)(int, int))\n{\n}\n"}),
    ("a pure file", OK, {"agent/core/planted.c": PURE}),
    ("constant tables in the core", OK, {"agent/core/planted.c": call(
        [], 'static const char *const v[] = { "a", "b" };\n\n\treturn *v[planted() & 1];')}),
    ("the core calls the election and base", OK, {"agent/core/planted.c": call(
        ['"election/elect.h"', '"agent/base/ip.h"'], "struct ip a = { 0 };\n\n\treturn elect_margin_ms(3) + ip_eq(&a, &a);")}),
    ("the shell may include all of ours", OK, {
        "agent/planted.c": include('"agent/core/pool.h"', '"election/elect.h"', '"netlink/nlsock.h"', "<microhttpd.h>")}),
    ("a codec with its library", OK, {"agent/kube/planted_json.c": include("<jansson.h>", '"agent/base/object.h"')}),
    ("netlink may have state", OK, {"netlink/planted.c": HOME}),
)


def copy_tree(top, build, to):
    for folder in rules.SOURCE_FOLDERS:
        shutil.copytree(pathlib.Path(top, folder), pathlib.Path(to, folder), copy_function=shutil.copy2)
    pathlib.Path(to, "tests").mkdir()
    for folder in ("agent/base", "agent/core", "election"):
        target = pathlib.Path(to, "build", folder)
        target.mkdir(parents=True)
        for built in pathlib.Path(top, build, folder).glob("*.[od]"):
            shutil.copy2(built, target)


def compile_object(tree, cc, flags, path):
    obj = pathlib.Path(tree, "build", path[:-2] + ".o")
    obj.parent.mkdir(parents=True, exist_ok=True)
    return check_layers.run([*cc.split(), *flags, "-std=gnu11", "-O2", "-w", "-fPIE", "-MD", "-c", "-o", str(obj), path],
                            tree).returncode == 0


def write(place, text):
    """None takes the file away."""
    if text is None:
        place.unlink(missing_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def plant(tree, cc, flags, case):
    """Returns what is wrong with the outcome, None if all is well."""
    _, rule, files = case
    texts = {path: text if isinstance(text, tuple) else (text, text) for path, text in files.items() if text is not None}
    places = {path: pathlib.Path(tree, path) for path in texts}
    saved = {path: place.read_text(encoding="utf-8") if place.exists() else None for path, place in places.items()}
    compiled = [path for path in texts if path.endswith(".c") and "unbuilt" not in path and not path.startswith("tests/")]
    for path, (built, _) in texts.items():
        write(places[path], built)
    for path in compiled:
        if not compile_object(tree, cc, flags, path) and rule != "include":
            return f"{path} does not compile"
    for path, (built, since) in texts.items():
        if since != built:
            write(places[path], since)
    findings = check_layers.Checker(tree, cc, "build", flags).check(set(files))
    for path, text in saved.items():
        write(places[path], text)
    for path in compiled:
        for kind in (".o", ".d"):
            pathlib.Path(tree, "build", path).with_suffix(kind).unlink(missing_ok=True)
        if saved[path] is not None:
            compile_object(tree, cc, flags, path)
    if rule is OK:
        return None if not findings else f"found {findings}"
    first = next(iter(files))
    if not any(f[1] == rule and f[0].split(":")[0] == first for f in findings):
        return f"not found as {rule} in {first}: {findings}"
    others = {f[1] for f in findings} - {rule}
    return f"also found {others}: {findings}" if others else None


def self_test(top, cc, build, flags):
    missed = 0
    with tempfile.TemporaryDirectory(prefix="leasehold-layers-") as tree:
        copy_tree(top, build, tree)
        for case in PLANTED:
            wrong = plant(tree, cc, flags, case)
            if wrong:
                print(f"{case[0]}: {wrong}")
                missed += 1
    print(f"{len(PLANTED)} cases planted, {missed} judged wrongly")
    return 1 if missed else 0
