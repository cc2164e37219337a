/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials are found where kubeconfig and kubelet put them, are followed when their files change, and a bad file
 * costs nothing but an error that names it.  No secret stands in an error. */
#include "agent/kube/auth.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/base64.h"
#include "agent/base/file.h"
#include "agent/kube/auth_private.h"

#define CERT "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n"
#define CERT_2 "-----BEGIN CERTIFICATE-----\nYg==\n-----END CERTIFICATE-----\n"
#define KEY "-----BEGIN PRIVATE KEY-----\nYQ==\n-----END PRIVATE KEY-----\n"
#define CERT_DATA "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCllRPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="
#define KEY_DATA "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCllRPT0KLS0tLS1FTkQgUFJJVkFURSBLRVktLS0tLQo="
#define SECRET "s3cr3t-token"

static char dir[] = "/tmp/leasehold-auth-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[2][200];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

/* In place, as a writer without a rename does. */
static void put(const char *name, const char *text)
{
	FILE *f = fopen(in_dir(name), "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static mono_t at_ms(int64_t ms)
{
	return (mono_t){ ms * NS_PER_MS };
}

static void assert_pem(const struct kube_auth *a,
		       void (*get)(const struct kube_auth *, const char **, size_t *), const char *want)
{
	const char *pem;
	size_t len;

	get(a, &pem, &len);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(pem, want, len);
}

#define CONFIG(cluster, user)                                                                                          \
	"apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: other\n  context: {cluster: x, user: x}\n" \
	"- name: c\n  context: {cluster: k, user: u}\nclusters:\n- name: k\n  cluster:\n" cluster                       \
	"users:\n- name: u\n  user:\n" user
#define CLUSTER "    server: https://192.0.2.1:6443\n"
#define USER "    token: " SECRET "\n"

static struct kube_auth *load(const char *config)
{
	struct err_info err = ERR_INFO_INIT;
	struct kube_auth *a = NULL;

	put("config", config);
	if (kube_auth_from_kubeconfig(in_dir("config"), &a, &err) < 0)
		fail_msg("%s", err.text);
	return a;
}

static void test_inline(void **state)
{
	struct kube_auth *a = load(CONFIG("    server: https://[2001:db8::1]:6443//\n    tls-server-name: kubernetes\n"
					  "    insecure-skip-tls-verify: false\n    certificate-authority-data: " CERT_DATA "\n",
					  "    client-certificate-data: " CERT_DATA "\n    client-key-data: " KEY_DATA "\n"));

	(void)state;
	assert_string_equal(kube_auth_server(a), "https://[2001:db8::1]:6443");
	assert_string_equal(kube_auth_tls_server_name(a), "kubernetes");
	assert_string_equal(kube_auth_token(a), "");
	assert_pem(a, kube_auth_ca, CERT);
	assert_pem(a, kube_auth_client_cert, CERT);
	assert_pem(a, kube_auth_client_key, KEY);
	kube_auth_free(a);
	kube_auth_free(NULL);
}

/* Relative paths are relative to the kubeconfig; data wins over a file, tokenFile over token. */
static void test_files(void **state)
{
	struct kube_auth *a;

	(void)state;
	put("ca.pem", CERT_2);
	put("both.pem", CERT KEY);
	put("tok", " " SECRET "\n");
	a = load(CONFIG(CLUSTER "    certificate-authority: ca.pem\n",
			"    client-certificate: both.pem\n    client-key: both.pem\n    token: old\n    tokenFile: tok\n"));
	assert_pem(a, kube_auth_ca, CERT_2);
	assert_pem(a, kube_auth_client_cert, CERT KEY);
	assert_pem(a, kube_auth_client_key, CERT KEY);
	assert_string_equal(kube_auth_token(a), SECRET);
	assert_string_equal(kube_auth_tls_server_name(a), "");
	kube_auth_free(a);
	a = load(CONFIG(CLUSTER "    certificate-authority: absent\n    certificate-authority-data: " CERT_DATA "\n", USER));
	assert_pem(a, kube_auth_ca, CERT);
	assert_pem(a, kube_auth_client_cert, "");
	kube_auth_free(a);
}

static void test_refused(void **state)
{
	static const struct {
		const char *config, *text; /* the text behind "FILE:" */
	} rows[] = {
		{ "", "1: current-context: missing: this is no kubeconfig" },
		{ "kind: Config\n", "1: current-context: missing" },
		{ "\ncurrent-context: [c]\n", "2: current-context: not a plain value" },
		{ "current-context: c\n", "1: contexts: missing" },
		{ "current-context: c\ncontexts: 3\n", "2: contexts: not a list" },
		{ "current-context: c\ncontexts:\n- name: d\n", "3: contexts: no entry is called \"c\"" },
		{ "current-context: c\ncontexts:\n- name: c\n", "3: context: missing or not a map in the entry \"c\"" },
		{ "current-context: c\ncontexts:\n- name: c\n  context: {user: u}\n", "4: cluster: missing" },
		{ CONFIG("    server: http://192.0.2.1\n", USER), "12: server: must begin with https://" },
		{ CONFIG("    server: https://:6443\n", USER), "12: server: has no host" },
		{ CONFIG("    server: https:///\n", USER), "12: server: has no host" },
		{ CONFIG("    server: https://a:b@192.0.2.1\n", USER),
		  "12: server: holds a character that may not stand there" },
		{ CONFIG("    x: y\n", USER), "12: server: missing" },
		{ CONFIG(CLUSTER "    insecure-skip-tls-verify: true\n", USER),
		  "13: insecure-skip-tls-verify: refused: the server's certificate is always verified; give "
		  "certificate-authority" },
		{ CONFIG(CLUSTER "    proxy-url: http://192.0.2.9\n", USER),
		  "13: proxy-url: not supported: name the server itself" },
		{ CONFIG(CLUSTER "    tls-server-name: \"a b\"\n", USER), "13: tls-server-name: not a host name" },
		{ CONFIG(CLUSTER "    certificate-authority-data: YQ=\n", USER), "13: certificate-authority-data: not base64" },
		{ CONFIG(CLUSTER "    certificate-authority-data: YQ==\n", USER),
		  "13: certificate-authority-data: no certificate in PEM form" },
		{ CONFIG(CLUSTER, "    exec: {command: x}\n"),
		  "16: exec: not supported: give a client certificate, token or tokenFile" },
		{ CONFIG(CLUSTER, "    token: t\n    as: admin\n"),
		  "17: as: not supported: give a client certificate, token or tokenFile" },
		{ CONFIG(CLUSTER, "    username: admin\n    password: " SECRET "\n"),
		  "16: username: not supported: give a client certificate, token or tokenFile" },
		{ CONFIG(CLUSTER, "    x: y\n"), "16: user: has no client certificate, token or tokenFile" },
		{ CONFIG(CLUSTER, "    client-certificate-data: " CERT_DATA "\n"),
		  "16: client-key: missing beside the client certificate" },
		{ CONFIG(CLUSTER, "    client-key-data: " KEY_DATA "\n"),
		  "16: client-certificate: missing beside the client key" },
		{ CONFIG(CLUSTER, "    token: \"" SECRET "\\r\\nX: y\"\n"),
		  "16: token: not a token: it holds a blank or a control character" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err_info err = ERR_INFO_INIT;
		struct kube_auth *a = NULL;
		char want[ERR_TEXT_MAX];

		put("config", rows[i].config);
		assert_int_equal(kube_auth_from_kubeconfig(in_dir("config"), &a, &err), -EINVAL);
		snprintf(want, sizeof(want), "%s:%s", in_dir("config"), rows[i].text);
		assert_string_equal(err.text, want);
		assert_null(strstr(err.text, SECRET));
		assert_null(a);
	}
}

static void test_absent(void **state)
{
	struct err_info err = ERR_INFO_INIT;
	struct kube_auth *a = NULL;

	(void)state;
	assert_int_equal(kube_auth_from_kubeconfig(in_dir("nothing"), &a, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nothing"));
	put("config", CONFIG(CLUSTER, "    tokenFile: nothing\n"));
	assert_int_equal(kube_auth_from_kubeconfig(in_dir("config"), &a, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/config:16: tokenFile: "));
	assert_non_null(strstr(err.text, "/nothing: "));
	put("config", "current-context: c\n\t: [");
	assert_int_equal(kube_auth_from_kubeconfig(in_dir("config"), &a, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/config"));
	assert_null(a);
}

static void test_in_cluster(void **state)
{
	static const struct {
		const char *host, *port, *server;
	} rows[] = {
		{ "192.0.2.1", "443", "https://192.0.2.1:443" },
		{ "2001:db8::1", "6443", "https://[2001:db8::1]:6443" },
		{ "kubernetes.default.svc", "443", "https://kubernetes.default.svc:443" },
		{ NULL, "443", NULL },	{ "", "443", NULL },	     { "a/b", "443", NULL },	{ "a:1", "443", NULL },
		{ "192.0.2.1", NULL, NULL }, { "192.0.2.1", "0", NULL }, { "192.0.2.1", "65536", NULL }, { "192.0.2.1", "x", NULL },
	};

	(void)state;
	put("ca.crt", CERT);
	put("token", SECRET "\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err_info err = ERR_INFO_INIT;
		struct kube_auth *a = NULL;
		int r = kube_auth_in_cluster(dir, rows[i].host, rows[i].port, &a, &err);

		assert_int_equal(r, rows[i].server ? 0 : -EINVAL);
		if (r < 0) {
			assert_non_null(strstr(err.text, "KUBERNETES_SERVICE_"));
			assert_null(a);
			continue;
		}
		assert_string_equal(kube_auth_server(a), rows[i].server);
		assert_string_equal(kube_auth_token(a), SECRET);
		assert_string_equal(kube_auth_tls_server_name(a), "");
		assert_pem(a, kube_auth_ca, CERT);
		kube_auth_free(a);
	}
}

/* kubelet's way: files are links through "..data", which is swapped as a whole. */
static void test_rotation(void **state)
{
	struct kube_auth *a = NULL;
	uint64_t generation;
	bool changed = true;

	(void)state;
	assert_int_equal(mkdir(in_dir("v1"), 0700), 0);
	assert_int_equal(mkdir(in_dir("v2"), 0700), 0);
	assert_int_equal(mkdir(in_dir("sa"), 0700), 0);
	put("v1/token", "one");
	put("v1/ca.crt", CERT);
	put("v2/token", "two");
	put("v2/ca.crt", CERT);
	assert_int_equal(symlink("../v1", in_dir("sa/..data")), 0);
	assert_int_equal(symlink("..data/token", in_dir("sa/token")), 0);
	assert_int_equal(symlink("..data/ca.crt", in_dir("sa/ca.crt")), 0);
	assert_int_equal(kube_auth_in_cluster(in_dir("sa"), "192.0.2.1", "443", &a, NULL), 0);
	generation = kube_auth_generation(a);
	assert_int_equal(kube_auth_refresh(a, at_ms(5000), false, &changed, NULL), 0);
	assert_false(changed);
	assert_int_equal(symlink("../v2", in_dir("sa/..new")), 0);
	assert_int_equal(rename(in_dir("sa/..new"), in_dir("sa/..data")), 0);
	/* Looked at less than a second ago. */
	assert_int_equal(kube_auth_refresh(a, at_ms(5999), false, &changed, NULL), 0);
	assert_false(changed);
	assert_string_equal(kube_auth_token(a), "one");
	assert_int_equal(kube_auth_refresh(a, at_ms(6000), false, &changed, NULL), 0);
	assert_true(changed);
	assert_string_equal(kube_auth_token(a), "two");
	assert_true(kube_auth_generation(a) == generation); /* a token is no TLS material */
	put("v2/ca.crt", CERT_2);
	assert_int_equal(kube_auth_refresh(a, at_ms(6001), true, &changed, NULL), 0);
	assert_true(changed);
	assert_pem(a, kube_auth_ca, CERT_2);
	assert_true(kube_auth_generation(a) > generation);
	assert_int_equal(kube_auth_refresh(a, at_ms(6002), true, &changed, NULL), 0);
	assert_false(changed);
	kube_auth_free(a);
}

/* A bad file: an error that names it, the last good credentials stay, and the next look tries again. */
static void test_rotation_bad(void **state)
{
	struct kube_auth *a = NULL;
	struct err_info err = ERR_INFO_INIT;
	bool changed = false;

	(void)state;
	put("ca.crt", CERT);
	put("token", "good");
	assert_int_equal(kube_auth_in_cluster(dir, "192.0.2.1", "443", &a, NULL), 0);
	put("ca.crt", "-----BEGIN CERT");
	put("token", "better");
	assert_int_equal(kube_auth_refresh(a, at_ms(1000), false, &changed, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/ca.crt: no certificate in PEM form"));
	assert_string_equal(kube_auth_token(a), "good");
	assert_pem(a, kube_auth_ca, CERT);
	assert_int_equal(unlink(in_dir("ca.crt")), 0);
	assert_int_equal(kube_auth_refresh(a, at_ms(2000), false, NULL, &err), -ENOENT);
	put("ca.crt", CERT_2);
	assert_int_equal(kube_auth_refresh(a, at_ms(3000), false, &changed, NULL), 0);
	assert_true(changed);
	assert_string_equal(kube_auth_token(a), "better");
	assert_pem(a, kube_auth_ca, CERT_2);
	kube_auth_free(a);
}

/* kubeadm renews certificates inside the kubeconfig; another server takes a restart. */
static void test_kubeconfig_rewritten(void **state)
{
	struct kube_auth *a = load(CONFIG(CLUSTER, USER));
	const char *server = kube_auth_server(a);
	bool changed = false;

	(void)state;
	put("config", CONFIG("    server: https://192.0.2.2:6443\n    tls-server-name: other\n", "    token: new\n"));
	assert_int_equal(kube_auth_refresh(a, at_ms(10), false, &changed, NULL), 0);
	assert_true(changed);
	assert_string_equal(kube_auth_token(a), "new");
	assert_string_equal(kube_auth_tls_server_name(a), "other");
	assert_ptr_equal(kube_auth_server(a), server);
	assert_string_equal(server, "https://192.0.2.1:6443");
	kube_auth_free(a);
}

static void test_base64(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *bytes;
	} rows[] = {
		{ "", 0, "" },		   { "Zg==", 0, "f" },	    { "Zm8=", 0, "fo" },     { "Zm9v", 0, "foo" },
		{ "Zm9v\r\nYmFy\n", 0, "foobar" }, { "+/+/", 0, "\xfb\xff\xbf" }, { "Z", -EINVAL, "" },	     { "Zg", -EINVAL, "" },
		{ "Zg=", -EINVAL, "" },	   { "Zg===", -EINVAL, "" },  { "Zh==", -EINVAL, "" },   { "Zm9=", -EINVAL, "" },
		{ "=", -EINVAL, "" },	   { "====", -EINVAL, "" },   { "Z===", -EINVAL, "" },   { "Zg=v", -EINVAL, "" },
		{ "Zg==Zg==", -EINVAL, "" }, { "Zm 9v", -EINVAL, "" },  { "-_-_", -EINVAL, "" },   { "Zm9v\xc3\xa9==", -EINVAL, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf out = BUF_INIT(64);

		if (base64_decode(rows[i].text, strlen(rows[i].text), &out) != rows[i].r)
			fail_msg("row %zu: \"%s\"", i, rows[i].text);
		if (rows[i].r == 0)
			assert_string_equal(buf_text(&out), rows[i].bytes);
		buf_fini(&out);
	}
}

static void test_base64_bound(void **state)
{
	struct buf out = BUF_INIT(5);

	(void)state;
	assert_int_equal(base64_decode("Zm9vYmFy", 8, &out), -EMSGSIZE);
	buf_fini(&out);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = { "config", "ca.pem", "both.pem", "tok",	 "ca.crt",    "token",	"v1/token",
					     "v1/ca.crt", "v2/token", "v2/ca.crt", "sa/token", "sa/ca.crt", "sa/..data", "sa/..new",
					     "v1", "v2", "sa" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (unlink(in_dir(names[i])) < 0)
			IGNORE(rmdir(in_dir(names[i]))); /* not there when its test failed early */
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inline),	     cmocka_unit_test(test_files),
		cmocka_unit_test(test_refused),	     cmocka_unit_test(test_absent),
		cmocka_unit_test(test_in_cluster),   cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_rotation_bad), cmocka_unit_test(test_kubeconfig_rewritten),
		cmocka_unit_test(test_base64),	     cmocka_unit_test(test_base64_bound),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
