# SPDX-License-Identifier: Apache-2.0
"""The layer table: which module a file belongs to, and what each module may reach.

Dependencies point down only:

    shell      agent/*                        everything of ours; libmicrohttpd; neither parses nor encodes
    I/O        agent/kube/*, netlink/*        base, its own folder; its own library
    codecs     parts of those two folders     base, codecs of the folder; jansson | libmnl + libnftnl; no sockets
    core       agent/core/*                   base, election; pure
    election   election/*                     base; pure
    bpf        netlink/bpf/*                  runs in the kernel; shares netlink/gate.h alone
    base       agent/base/*                   nothing; libc, and libyaml in one file
"""

import re

SOURCE_FOLDERS = ("agent", "election", "netlink")
TEST_FOLDER = "tests"

CODECS = re.compile(
    r"netlink/(\w+_msg|\w+_frame|attr_walk|batch|forward_rule|gate|link_feed|link_table|nat_(chain|chain_\w+|elem|elem_parse|event|layout|rule|step|udata)|nft_rule)\.[ch]"
    r"|agent/kube/(\w+_json|annotation|json_walk|service_rules|span|splitter|texts)\.[ch]"
)

# In this order: the first that matches is the module.
MODULES = (
    ("bpf", re.compile(r"netlink/bpf/.*")),
    ("base", re.compile(r"agent/base/.*")),
    ("core", re.compile(r"agent/core/.*")),
    ("election", re.compile(r"election/.*")),
    ("netlink codec", re.compile(r"netlink/.*")),
    ("kube codec", re.compile(r"agent/kube/.*")),
    ("netlink", re.compile(r"netlink/.*")),
    ("kube", re.compile(r"agent/kube/.*")),
    ("shell", re.compile(r"agent/.*")),
)

MAY_INCLUDE = {
    "bpf": {"bpf", "netlink codec"},
    "base": {"base"},
    "election": {"base", "election"},
    "core": {"base", "election", "core"},
    "netlink codec": {"base", "netlink codec"},
    "kube codec": {"base", "kube codec"},
    "netlink": {"base", "netlink codec", "netlink"},
    "kube": {"base", "kube codec", "kube"},
    "shell": {"base", "election", "core", "netlink codec", "netlink", "kube codec", "kube", "shell"},
}

# Library: what its headers' paths look like, the modules that may reach them, and whether one file alone may.
LIBRARIES = (
    ("libyaml", re.compile(r"/yaml\.h$"), {"base"}, True),
    ("libnl-3", re.compile(r"/libnl3/"), {"netlink"}, True),
    ("libbpf", re.compile(r"/include/bpf/(bpf|btf|libbpf)\.h$"), {"netlink"}, True),
    ("libbpf for programs", re.compile(r"/include/bpf/bpf_(core_read|endian|helpers|tracing)\.h$"), {"bpf"}, False),
    ("libnetfilter_conntrack", re.compile(r"/libnetfilter_conntrack/"), {"netlink"}, True),
    ("libmnl", re.compile(r"/libmnl/"), {"netlink", "netlink codec"}, False),
    ("libnftnl", re.compile(r"/libnftnl/"), {"netlink", "netlink codec"}, False),
    ("jansson", re.compile(r"/jansson(_config)?\.h$"), {"kube codec"}, False),
    ("libcurl", re.compile(r"/curl/"), {"kube"}, False),
    ("OpenSSL", re.compile(r"/openssl/"), set(), False),
    ("libmicrohttpd", re.compile(r"/microhttpd\.h$"), {"shell"}, False),
    ("cmocka", re.compile(r"/cmocka\.h$"), set(), False),
)

# What the files of a pure module may name in an #include <...> of their own.  (errno.h: the names of the codes.)
PURE_MODULES = {"election", "core"}
PURE_HEADERS = {
    "assert.h", "errno.h", "inttypes.h", "limits.h", "netinet/in.h", "stdbool.h", "stddef.h", "stdint.h", "string.h",
}

# What the objects of a pure module may call besides their own module and what is below it.
PURE_CALLS = re.compile(
    r"__assert_fail|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|bcmp"
    r"|(__)?mem(cpy|move|set|cmp|chr|rchr)(_chk)?"
    r"|(__)?str(len|nlen|cmp|ncmp|chr|rchr|spn|cspn|str|cpy|ncpy|cat|ncat)(_chk)?"
)
# Files of base whose functions are pure, and what those files may call in turn: the address texts go through libc's
# inet_pton and inet_ntop, which are pure, too.
PURE_BASE = {
    "ip": re.compile(r"$^"),
    "link": re.compile(r"$^"),
    "mono": re.compile(r"$^"),
    "iptext": re.compile(r"inet_pton|inet_ntop|text_to_u64"),
    "text": re.compile(r"(__)?snprintf(_chk)?"),
}
# Of those the ones that are not: printf depends on the locale and may allocate.
NOT_PURE = {"text_of_ms"}

# What a codec may not call: it turns bytes into structures and back.
CODEC_NOT = re.compile(
    r"socket|connect|bind|listen|accept4?|send|sendto|sendmsg|recv|recvfrom|recvmsg|poll|epoll_\w+|open(at)?(64)?|read|write"
    r"|fopen(64)?|mnl_socket_\w+|clock_gettime|mono_now|log_write"
)

# Names that libraries own.
TAKEN_PREFIX = re.compile(r"(nl|rtnl|nla|nlmsg|genl|mnl|nftnl|json|curl|yaml)_")

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
PARAMETERS_MAX = 5
TOLD_ONLY = {"parameters"}


def module_of(path):
    """The module of one of our files, None for tests and others."""
    for name, pattern in MODULES:
        if pattern.fullmatch(path) and (not name.endswith("codec") or CODECS.fullmatch(path)):
            return name
    return None
