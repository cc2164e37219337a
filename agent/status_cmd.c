/* SPDX-License-Identifier: Apache-2.0 */
/* status_cmd.c: flags, one question after the other, and a terminal that is drawn over. */
#include "agent/status_cmd.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/base/text.h"
#include "agent/status_ask.h"

#define ANSWER_MAX ((size_t)256 * 1024 * 1024)
#define WATCH_MS 1000
#define WATCH_MS_MIN 100

/* Control sequences (ECMA-48): to the upper left; erase to the end of the line, of the screen. */
#define TO_TOP "\033[H"
#define ERASE_LINE "\033[K"
#define ERASE_BELOW "\033[J"

enum colour_mode { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER };

struct status_args {
	struct status_ask ask;
	const char *dir;
	enum colour_mode colour;
	int64_t watch_ms; /* 0 = once */
	bool screen;	  /* standard output is a terminal */
};

static volatile sig_atomic_t interrupted;

void status_help(FILE *out)
{
	fputs("Usage: leasehold status [leases|vips|services [NAME]] [FLAGS]\n"
	      "\n"
	      "What the agent of this node knows and does: first what is wrong, then who holds which Lease and\n"
	      "VIP, and what goes through the Services.  A part, or one NAME of it (a Lease, an address,\n"
	      "NAMESPACE/NAME of a Service), is shown in full; of a Service its backends, too.\n"
	      "\n"
	      "Flags:\n"
	      "  --json             one JSON object; its names are in docs/configuration.md\n"
	      "  --watch [TIME]     again and again, each TIME (default 1s), until Ctrl-C; waits for an agent\n"
	      "                     that is away\n"
	      "  --service NS/NAME  as: services NS/NAME\n"
	      "  --color WHEN       auto (default: on a terminal, unless NO_COLOR is set), always, never\n"
	      "  --state-dir DIR    the agent's state directory (default /run/leasehold)\n"
	      "\n"
	      "HERE is what this node does for a VIP: it answers, is on standby while another node holds it, or\n"
	      "why it cannot.  RENEWED: since the Lease was last seen to change.  GATE: how long the kernel would\n"
	      "answer on if the agent died now.  SENT: announcements; LAST, NEXT: since and until one.\n"
	      "\n"
	      "Exit codes: 0 told; 1 the agent did not answer; 2 wrong flags; 4 no agent runs there.\n",
	      out);
}

/* ---- flags ---- */

/* "--name VALUE" or "--name=VALUE". */
static bool take_flag(int argc, char **argv, int *i, const char *name, const char **ret)
{
	size_t len = strlen(name);

	if (text_eq(argv[*i], name) && *i + 1 < argc) {
		*ret = argv[++*i];
		return true;
	}
	if (strncmp(argv[*i], name, len) == 0 && argv[*i][len] == '=') {
		*ret = argv[*i] + len + 1;
		return true;
	}
	return false;
}

/* Without a value: the default.  What follows is a value only if it looks like one. */
static bool take_watch(int argc, char **argv, int *i, struct status_args *a)
{
	const char *value = NULL;

	a->watch_ms = WATCH_MS;
	if (text_starts(argv[*i], "--watch="))
		value = argv[*i] + strlen("--watch=");
	else if (*i + 1 < argc && argv[*i + 1][0] >= '0' && argv[*i + 1][0] <= '9' && !strpbrk(argv[*i + 1], ".:"))
		value = argv[++*i];
	return !value || (text_to_ms(value, &a->watch_ms) == 0 && a->watch_ms >= WATCH_MS_MIN);
}

static bool take_colour(const char *value, struct status_args *a)
{
	static const char *const names[] = { [COLOUR_AUTO] = "auto", [COLOUR_ALWAYS] = "always", [COLOUR_NEVER] = "never" };

	for (unsigned int i = 0; i < ARRAY_LEN(names); i++) {
		if (!text_eq(value, names[i]))
			continue;
		a->colour = (enum colour_mode)i;
		return true;
	}
	return false;
}

/* A name goes into a line of words; an address as the agent writes it. */
static bool take_name(const char *name, struct status_args *a, FILE *err)
{
	char text[IP_TEXT_MAX];
	struct ip ip;

	if (a->ask.part == STATUS_VIPS && ip_parse(name, &ip) < 0) {
		fprintf(err, "%s: no IP address\n", name);
		return false;
	}
	if (a->ask.part == STATUS_SERVICES && (!strchr(name, '/') || name[0] == '/')) {
		fprintf(err, "%s: a Service is named NAMESPACE/NAME\n", name);
		return false;
	}
	if (!*name || strpbrk(name, " \t\r\n") ||
	    !text_copy(a->ask.name, sizeof(a->ask.name), a->ask.part == STATUS_VIPS ? ip_format(&ip, text) : name)) {
		fprintf(err, "%s: no name of anything\n", name);
		return false;
	}
	return true;
}

static bool take_word(const char *word, struct status_args *a, FILE *err)
{
	for (unsigned int k = STATUS_LEASES; k < STATUS_PART_N && a->ask.part == STATUS_ALL; k++) {
		if (!text_eq(word, status_part_name((enum status_part)k)))
			continue;
		a->ask.part = (enum status_part)k;
		return true;
	}
	if (a->ask.part != STATUS_ALL && !*a->ask.name)
		return take_name(word, a, err);
	fprintf(err, "%s: none of leases, vips, services, or too much (see --help)\n", word);
	return false;
}

static bool take_args(int argc, char **argv, struct status_args *a, FILE *err)
{
	const char *value;
	bool good;

	for (int i = 0; i < argc; i++) {
		const char *flag = argv[i];

		good = true;
		if (text_eq(flag, "--json")) {
			a->ask.json = true;
		} else if (text_eq(flag, "--watch") || text_starts(flag, "--watch=")) {
			good = take_watch(argc, argv, &i, a);
		} else if (take_flag(argc, argv, &i, "--color", &value)) {
			good = take_colour(value, a);
		} else if (take_flag(argc, argv, &i, "--state-dir", &value)) {
			a->dir = value;
		} else if (a->ask.part == STATUS_ALL && take_flag(argc, argv, &i, "--service", &value)) {
			a->ask.part = STATUS_SERVICES;
			if (!take_name(value, a, err))
				return false;
		} else if (flag[0] != '-') {
			if (!take_word(flag, a, err))
				return false;
		} else {
			fprintf(err, "%s: no such flag, or its value is missing (see --help)\n", flag);
			return false;
		}
		if (!good) {
			fprintf(err, "%s: wrong value (see --help)\n", flag);
			return false;
		}
	}
	return true;
}

/* ---- the terminal ---- */

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

/* Ctrl-C ends the watch in order: it is not an error. */
static void catch_signals(void)
{
	const struct sigaction action = { .sa_handler = on_signal }; /* no SA_RESTART: sleep and recv() end */

	IGNORE(sigaction(SIGINT, &action, NULL)); /* cannot fail for these */
	IGNORE(sigaction(SIGTERM, &action, NULL));
}

/* Columns as the window has them at the moment; *ret_rows: 0 = unknown. */
static unsigned int window(bool screen, unsigned int *ret_rows)
{
	struct winsize w = { 0 };

	*ret_rows = 0;
	if (!screen || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_col == 0)
		return STATUS_WIDTH;
	*ret_rows = w.ws_row;
	return w.ws_col < STATUS_WIDTH_MIN ? STATUS_WIDTH_MIN : w.ws_col > STATUS_WIDTH_MAX ? STATUS_WIDTH_MAX : w.ws_col;
}

static bool wants_colour(const struct status_args *a)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM"); /* https://no-color.org */

	if (a->colour != COLOUR_AUTO)
		return a->colour == COLOUR_ALWAYS;
	return a->screen && !(no && *no) && term && !text_eq(term, "dumb");
}

/* Over what stands there; what does not fit is left out, for it would scroll. */
static void draw(const char *text, unsigned int rows, FILE *out)
{
	fputs(TO_TOP, out);
	for (unsigned int row = 1; *text; row++) {
		size_t len = strcspn(text, "\n");

		if (rows > 0 && row == rows) {
			fputs("... the rest does not fit here" ERASE_LINE, out);
			break;
		}
		fwrite(text, 1, len, out);
		fputs(ERASE_LINE "\n", out);
		text += len + (text[len] == '\n');
	}
	fputs(ERASE_BELOW, out);
}

/* ---- asking ---- */

/* An agent of another version is asked in the words that it has known for ever, where they say the same. */
static int ask(const struct status_args *a, struct buf *answer, struct err_info *err)
{
	char line[STATUS_LINE_MAX];
	int r = status_ask_write(&a->ask, line);

	if (r < 0)
		return err_errno(err, r, "%s", a->ask.name);
	r = control_query(a->dir, line, MONO_NEVER, answer, err);
	if (r == -EBUSY && status_ask_is_plain(&a->ask))
		r = control_query(a->dir, a->ask.json ? "json" : "text", MONO_NEVER, answer, err);
	if (r == 0 && (answer->len < 2 || answer->data[answer->len - 1] != '\n' ||
		       (a->ask.json && answer->data[answer->len - 2] != '}')))
		r = err_set(err, -ECONNRESET, "the agent of %s ended amid its answer", a->dir);
	return r;
}

static int code_of(int r)
{
	return r == 0 ? EXIT_OK : r == -ENOENT || r == -ECONNREFUSED ? EXIT_NO_AGENT : EXIT_FAILED;
}

/* Until 'until', or a signal. */
static void sleep_until(mono_t until)
{
	const struct timespec t = { .tv_sec = until.ns / (MS_PER_S * NS_PER_MS), .tv_nsec = until.ns % (MS_PER_S * NS_PER_MS) };

	while (!interrupted && !mono_reached(mono_now(), until))
		IGNORE(clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &t, NULL)); /* looked at above */
}

static void show(const struct status_args *a, const struct buf *answer, unsigned int rows, FILE *out)
{
	if (a->watch_ms > 0 && a->screen && !a->ask.json) {
		draw(buf_text(answer), rows, out);
		return;
	}
	fwrite(answer->data, 1, answer->len, out);
	if (a->watch_ms > 0 && !a->ask.json)
		fputs("\n", out);
}

static int watch(struct status_args *a, FILE *out, FILE *err)
{
	struct buf answer = BUF_INIT(ANSWER_MAX);
	bool away = false;
	unsigned int rows;

	catch_signals();
	if (a->screen && !a->ask.json)
		fputs(TO_TOP ERASE_BELOW, out);
	for (mono_t next = mono_now(); !interrupted; next = mono_add_ms(mono_now(), a->watch_ms)) {
		struct err_info why = ERR_INFO_INIT;
		int r;

		sleep_until(next);
		a->ask.width = window(a->screen, &rows);
		buf_reset(&answer);
		r = interrupted ? 0 : ask(a, &answer, &why);
		if (interrupted)
			break;
		if (r == 0) {
			show(a, &answer, rows, out);
		} else if (a->screen && !a->ask.json) {
			buf_reset(&answer);
			buf_printf(&answer, "%s\nwaiting for it; Ctrl-C ends this\n", why.text);
			show(a, &answer, rows, out);
		} else if (!away) {
			fprintf(err, "leasehold status: %s; waiting\n", why.text);
		}
		away = r < 0;
		if (fflush(out) != 0)
			break; /* nobody reads any more; the caller tells */
	}
	buf_fini(&answer);
	return EXIT_OK;
}

static int once(struct status_args *a, FILE *out, FILE *err)
{
	struct buf answer = BUF_INIT(ANSWER_MAX);
	struct err_info why = ERR_INFO_INIT;
	unsigned int rows;
	int r;

	a->ask.width = window(a->screen, &rows);
	r = ask(a, &answer, &why);
	if (r == 0)
		show(a, &answer, rows, out);
	else
		fprintf(err, "leasehold status: %s\n", why.text);
	buf_fini(&answer);
	return code_of(r);
}

int status_command(int argc, char **argv, FILE *out, FILE *err)
{
	struct status_args a = { .dir = "/run/leasehold" };

	if (!take_args(argc, argv, &a, err))
		return EXIT_USAGE;
	a.screen = isatty(STDOUT_FILENO);
	a.ask.colour = !a.ask.json && wants_colour(&a);
	return a.watch_ms > 0 ? watch(&a, out, err) : once(&a, out, err);
}
