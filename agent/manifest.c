/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.c: fills the manifests' @NAMES@.  Values are checked as the agent checks them, so that none can break out of
 * its place in the YAML. */
#include "agent/manifest.h"

#include <errno.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/text.h"
#include "agent/config.h"
#include "agent/version.h"

/* The texts, NUL-terminated; paths are relative to the top of the source tree, where make runs. */
__asm__(".section .rodata\n"
	"manifest_daemonset: .incbin \"agent/manifest/daemonset.yaml\"\n.byte 0\n"
	"manifest_static_pod: .incbin \"agent/manifest/static-pod.yaml\"\n.byte 0\n"
	".previous\n");
extern const char manifest_daemonset[], manifest_static_pod[];

struct manifest {
	bool static_pod;
	const char *image;
	struct buf pools, interfaces; /* comma-separated */
	const char *ns;
};

void manifest_help(FILE *out)
{
	fprintf(out,
		"Usage: leasehold manifest --pool A-B|CIDR [FLAGS] | kubectl apply -f -\n\n"
		"Prints the objects that run Leasehold: ServiceAccount, RBAC, ConfigMap and DaemonSet.\n\nFlags:\n"
		"  --pool A-B|CIDR     addresses to allocate from, repeatable (at least one)\n"
		"  --interface IF      interface for VIPs, repeatable; default: by subnet, else by default route\n"
		"  --namespace NS      (default kube-system)\n"
		"  --image IMAGE       (default localhost/leasehold:%s)\n"
		"  --static-pod        a Pod for the kubelet's staticPodPath instead\n\n"
		"Exit codes: 0 printed; 2 wrong flags.\n",
		version_text());
}

static bool image_good(const char *image)
{
	return *image && strlen(image) < 512 &&
	       strspn(image, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./:@_-") == strlen(image);
}

/* The agent's own checks, by its own parser. */
static bool agent_accepts(const char *flag, const char *value, FILE *errors)
{
	char name[32];
	char node[] = "--node-name=any"; /* this host's name is no matter */
	char *args[] = { name, NULL, node };
	struct buf why = BUF_INIT(4096);
	AUTO(freep) char *copy = strdup(value);
	struct config c;
	bool good;

	args[1] = copy;
	IGNORE(snprintf(name, sizeof(name), "%s", flag)); /* flags are short */
	good = copy && config_parse((int)ARRAY_LEN(args), args, &c, &why) == 0;
	if (!good)
		fputs(copy ? buf_text(&why) : "out of memory\n", errors);
	if (copy)
		config_fini(&c);
	buf_fini(&why);
	return good;
}

static void add(struct buf *list, const char *value)
{
	if (list->len)
		buf_puts(list, ",");
	buf_puts(list, value);
}

static bool take_flag(struct manifest *m, const char *flag, const char *value, FILE *errors)
{
	if (text_eq(flag, "--image")) {
		m->image = value;
		if (!image_good(value))
			fprintf(errors, "--image: \"%.80s\" is not an image reference\n", value);
		return image_good(value);
	}
	if (!agent_accepts(flag, value, errors))
		return false;
	if (text_eq(flag, "--pool"))
		add(&m->pools, value);
	else if (text_eq(flag, "--interface"))
		add(&m->interfaces, value);
	else
		m->ns = value;
	return true;
}

static bool take_flags(struct manifest *m, int argc, char *const *argv, FILE *errors)
{
	static const char *const with_value[] = { "--image", "--pool", "--interface", "--namespace" };
	bool good = true;

	for (int i = 0; i < argc; i++) {
		const char *value = NULL, *flag = NULL;

		if (text_eq(argv[i], "--static-pod")) {
			m->static_pod = true;
			continue;
		}
		for (size_t k = 0; k < ARRAY_LEN(with_value); k++) {
			size_t n = strlen(with_value[k]);

			if (strncmp(argv[i], with_value[k], n) != 0)
				continue;
			if (argv[i][n] == '=')
				value = argv[i] + n + 1;
			else if (argv[i][n] == '\0' && i + 1 < argc)
				value = argv[++i];
			flag = value ? with_value[k] : NULL;
			break;
		}
		if (flag) {
			good &= take_flag(m, flag, value, errors);
		} else {
			fprintf(errors, "%s: no such flag, or its value is missing (see --help)\n", argv[i]);
			good = false;
		}
	}
	if (good && m->pools.len == 0) {
		fputs("--pool: at least one is needed\n", errors);
		good = false;
	}
	return good;
}

static const char *value_of(const struct manifest *m, const char *name, size_t len)
{
	const struct {
		const char *name, *value;
	} values[] = {
		{ "IMAGE", m->image }, { "NAMESPACE", m->ns }, { "VERSION", version_text() },
		{ "POOLS", buf_text(&m->pools) }, { "INTERFACES", buf_text(&m->interfaces) },
	};

	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		if (strlen(values[i].name) == len && memcmp(values[i].name, name, len) == 0)
			return values[i].value;
	return NULL;
}

/* The placeholder at 'p', NULL when there is none; *ret_len is its length with both @. */
static const char *placeholder(const struct manifest *m, const char *p, size_t *ret_len)
{
	size_t len;

	if (*p != '@')
		return NULL;
	len = strspn(p + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
	*ret_len = len + 2;
	return p[1 + len] == '@' ? value_of(m, p + 1, len) : NULL;
}

/* A line with a placeholder that has no value is left out whole: "interface:" with nothing would be an error. */
static bool left_out(const struct manifest *m, const char *line, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len;
		const char *value = placeholder(m, line + i, &len);

		if (value && !*value)
			return true;
	}
	return false;
}

static void print_line(const struct manifest *m, const char *line, size_t n, FILE *out)
{
	for (size_t i = 0; i < n;) {
		size_t len = 1;
		const char *value = placeholder(m, line + i, &len);

		if (value)
			fputs(value, out);
		else
			IGNORE(fwrite(line + i, 1, len = 1, out)); /* the caller looks at ferror() */
		i += len;
	}
}

static void print_filled(const struct manifest *m, const char *text, FILE *out)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		n += text[n] == '\n';
		if (!left_out(m, text, n))
			print_line(m, text, n, out);
		text += n;
	}
}

int manifest_print(int argc, char *const *argv, FILE *out, FILE *errors)
{
	char image[64];
	struct manifest m = { .image = image, .ns = "kube-system", .pools = BUF_INIT(8192), .interfaces = BUF_INIT(4096) };
	bool good;

	IGNORE(snprintf(image, sizeof(image), "localhost/leasehold:%s", version_text())); /* a version is short */
	good = take_flags(&m, argc, argv, errors);
	if (good)
		print_filled(&m, m.static_pod ? manifest_static_pod : manifest_daemonset, out);
	buf_fini(&m.pools);
	buf_fini(&m.interfaces);
	return good ? 0 : -EINVAL;
}
