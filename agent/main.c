/* SPDX-License-Identifier: Apache-2.0 */
/* main.c: the commands. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/text.h"
#include "agent/cleanup.h"
#include "agent/doctor.h"
#include "agent/handover_cmd.h"
#include "agent/manifest.h"
#include "agent/status_cmd.h"
#include "agent/version.h"

static const char usage_text[] =
	"Usage: leasehold COMMAND [FLAGS]\n"
	"\n"
	"Virtual IPs for Kubernetes on bare metal.\n"
	"\n"
	"Commands:\n"
	"  agent          run the agent of this node, until SIGTERM\n"
	"  status         what the agent of this node knows and does; --json for programs\n"
	"  handover       move a group of VIPs to another node without a break\n"
	"  doctor         what this node lacks or has set wrong, and how to mend it\n"
	"  check-config   read flags and file as the agent would, print all errors\n"
	"  cleanup        remove what a former agent left in this node's kernel\n"
	"  manifest       print the objects that run Leasehold, as YAML\n"
	"  version        print the version\n"
	"\n"
	"leasehold COMMAND --help tells a command's flags.\n"
	"\n"
	"Exit codes: 0 done; 1 something outside did not work; 2 wrong flags or configuration;\n"
	"3 another agent has the state directory; 4 no agent runs there.\n";

static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (text_eq(argv[i], "--help") || text_eq(argv[i], "-h"))
			return true;
	return false;
}

/* Standard output may be a full disk or a closed pipe. */
static int flushed(int code)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "leasehold: standard output: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	return code;
}

/* Parses the configuration; on errors prints them all. */
static bool read_config(int argc, char **argv, struct config *c)
{
	struct buf errors = BUF_INIT(64 * 1024);
	bool good = config_parse(argc, argv, c, &errors) == 0;

	if (!good)
		fputs(buf_text(&errors), stderr);
	buf_fini(&errors);
	return good;
}

static int command_agent(int argc, char **argv)
{
	struct config c;
	int code = EXIT_USAGE;

	if (wants_help(argc, argv)) {
		printf("Usage: leasehold agent [FLAGS]\n\nRuns the agent of this node.  Each flag may stand in the file of --config, "
		       "too, without the dashes.\n\nFlags (times carry a unit: 600ms, 3s):\n");
		config_print_help(stdout);
		printf("\nExit codes: 0 stopped by a signal; 1 could not start or go on; 2 wrong flags or configuration;\n"
		       "3 another agent has the state directory.\n");
		return flushed(EXIT_OK);
	}
	if (read_config(argc, argv, &c)) {
		if (c.pools.n == 0)
			fputs("--pool: none given: only Services that have an address already will be served\n", stderr);
		code = agent_run(&c);
	}
	config_fini(&c);
	return code;
}

static int command_check_config(int argc, char **argv)
{
	struct config c;
	bool good;

	if (wants_help(argc, argv)) {
		printf("Usage: leasehold check-config [FLAGS]\n\nReads flags and --config FILE as the agent would; prints \"ok\" or all "
		       "errors, a line each.\nFlags are the agent's.  Exit codes: 0 good; 2 errors.\n");
		return flushed(EXIT_OK);
	}
	good = read_config(argc, argv, &c);
	if (good)
		puts("ok");
	config_fini(&c);
	return flushed(good ? EXIT_OK : EXIT_USAGE);
}

/* The only flag of cleanup: --state-dir.  False: complained. */
static bool small_flags(int argc, char **argv, const char **dir)
{
	*dir = "/run/leasehold";
	for (int i = 0; i < argc; i++) {
		if (text_starts(argv[i], "--state-dir=")) {
			*dir = argv[i] + strlen("--state-dir=");
		} else if (text_eq(argv[i], "--state-dir") && i + 1 < argc) {
			*dir = argv[++i];
		} else {
			fprintf(stderr, "%s: no such flag, or its value is missing (see --help)\n", argv[i]);
			return false;
		}
	}
	return true;
}

static int command_status(int argc, char **argv)
{
	int code;

	if (wants_help(argc, argv)) {
		status_help(stdout);
		return flushed(EXIT_OK);
	}
	code = status_command(argc, argv, stdout, stderr);
	return code == EXIT_OK ? flushed(code) : code;
}

static int command_cleanup(int argc, char **argv)
{
	struct err_info err = ERR_INFO_INIT;
	AUTO(close_fdp) int lock = -1;
	unsigned int addrs = 0;
	const char *dir;
	int r;

	if (wants_help(argc, argv)) {
		printf("Usage: leasehold cleanup [--state-dir DIR]\n\nRemoves the VIPs, the gate and the nftables tables that a former agent "
		       "left on this node.  Refuses\nwhile an agent runs.  Twice is harmless.\n\nFlags:\n"
		       "  --state-dir DIR    the agent's state directory (default /run/leasehold)\n\n"
		       "Exit codes: 0 clean; 1 something could not be removed; 2 wrong flags; 3 an agent runs.\n");
		return flushed(EXIT_OK);
	}
	if (!small_flags(argc, argv, &dir))
		return EXIT_USAGE;
	r = control_lock(dir, &lock, &err);
	if (r == 0)
		r = cleanup_kernel(&addrs, &err);
	if (r < 0) {
		fprintf(stderr, "leasehold cleanup: %s\n", err.text);
		return r == -EWOULDBLOCK ? EXIT_RUNNING : EXIT_FAILED;
	}
	printf("removed %u addresses, the gate and the tables inet leasehold and arp leasehold\n", addrs);
	return flushed(EXIT_OK);
}

static int command_version(int argc, char **argv)
{
	if (wants_help(argc, argv)) {
		printf("Usage: leasehold version\n\nPrints version and revision.  Exit codes: 0 printed; 2 wrong flags.\n");
		return flushed(EXIT_OK);
	}
	if (argc > 0) {
		fputs("leasehold version takes no flags\n", stderr);
		return EXIT_USAGE;
	}
	printf("leasehold %s (%s)\n", version_text(), version_revision());
	return flushed(EXIT_OK);
}

static int command_handover(int argc, char **argv)
{
	int code;

	if (wants_help(argc, argv)) {
		handover_help(stdout);
		return flushed(EXIT_OK);
	}
	code = handover_command(argc, argv, stdout, stderr);
	return code == EXIT_OK ? flushed(code) : code;
}

static int command_doctor(int argc, char **argv)
{
	int code;

	if (wants_help(argc, argv)) {
		doctor_help(stdout);
		return flushed(EXIT_OK);
	}
	code = doctor_command(argc, argv, stdout, stderr);
	return flushed(EXIT_OK) == EXIT_OK ? code : EXIT_FAILED;
}

static int command_manifest(int argc, char **argv)
{
	if (wants_help(argc, argv)) {
		manifest_help(stdout);
		return flushed(EXIT_OK);
	}
	return manifest_print(argc, argv, stdout, stderr) == 0 ? flushed(EXIT_OK) : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} commands[] = {
		{ "agent", command_agent },	{ "status", command_status },	  { "handover", command_handover },
		{ "check-config", command_check_config }, { "cleanup", command_cleanup }, { "manifest", command_manifest },
		{ "version", command_version }, { "doctor", command_doctor },
	};

	if (argc < 2) {
		fputs(usage_text, stderr);
		return EXIT_USAGE;
	}
	if (text_eq(argv[1], "--help") || text_eq(argv[1], "-h") || text_eq(argv[1], "help")) {
		fputs(usage_text, stdout);
		return flushed(EXIT_OK);
	}
	if (text_eq(argv[1], "--version"))
		return command_version(0, NULL);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (text_eq(argv[1], commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	fprintf(stderr, "leasehold: no such command: %s (see leasehold --help)\n", argv[1]);
	return EXIT_USAGE;
}
