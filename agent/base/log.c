/* SPDX-License-Identifier: Apache-2.0 */
/* log.c: renders one log line and writes it at once. */
#include "agent/base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "agent/base/buf.h"

#define LOG_VALUE_MAX 1024		  /* bytes of a message or field; a longer one is cut */
#define LOG_LINE_MAX ((size_t)64 * 1024) /* beyond ten fields of that length all of whose bytes are escaped */

#define LOG_LINE_KEEP ((size_t)8 * 1024)  /* bytes for the next line, which may be about memory that is lacking */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER; /* guards log_line */
static struct buf log_line = BUF_INIT(LOG_LINE_MAX);
static enum log_level log_level_now = LOG_INFO;
static enum log_format log_format_now = LOG_FORMAT_TEXT;

void log_setup(enum log_level level, enum log_format format)
{
	log_level_now = level;
	log_format_now = format;
	pthread_mutex_lock(&log_lock);
	IGNORE(buf_reserve(&log_line, LOG_LINE_KEEP)); /* the first line tries again */
	buf_reset(&log_line);
	pthread_mutex_unlock(&log_lock);
}

bool log_enabled(enum log_level level)
{
	return level <= log_level_now;
}

static void put_time(struct buf *b)
{
	struct timespec ts = { 0 };
	struct tm tm;

	IGNORE(clock_gettime(CLOCK_REALTIME, &ts)); /* cannot fail for this clock */
	if (!gmtime_r(&ts.tv_sec, &tm))
		memset(&tm, 0, sizeof(tm));
	buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
		   tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000);
}

/* The text, or a copy with "..." at its end in 'cut' when it is too long. */
static const char *bounded(const char *s, char cut[static LOG_VALUE_MAX + 1])
{
	if (strnlen(s, LOG_VALUE_MAX + 1) <= LOG_VALUE_MAX)
		return s;
	memcpy(cut, s, LOG_VALUE_MAX - 3);
	memcpy(cut + LOG_VALUE_MAX - 3, "...", 4);
	return cut;
}

/* Texts may come from outside (annotations, replies): no line break or terminal escape gets through. */
static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

static void put_text_msg(struct buf *b, const char *s)
{
	for (; *s; s++)
		buf_append(b, is_control(*s) ? " " : s, 1);
}

static void put_text_value(struct buf *b, const char *s)
{
	bool plain = *s != '\0';

	for (const char *p = s; *p; p++)
		plain &= !is_control(*p) && !strchr(" \"\\=", *p);
	if (plain)
		buf_puts(b, s);
	else
		buf_json_string(b, s);
}

static void put_field(struct buf *b, const struct log_field *f)
{
	char ip[IP_TEXT_MAX], cut[LOG_VALUE_MAX + 1];
	const char *s = bounded(f->kind == LOG_FIELD_IP ? ip_format(&f->ip, ip) : f->str ? f->str : "", cut);

	if (log_format_now == LOG_FORMAT_JSON) {
		buf_puts(b, ",");
		buf_json_string(b, f->key);
		buf_puts(b, ":");
	} else {
		buf_printf(b, " %s=", f->key);
	}
	if (f->kind == LOG_FIELD_INT)
		buf_printf(b, "%" PRId64, f->num);
	else if (log_format_now == LOG_FORMAT_JSON)
		buf_json_string(b, s);
	else
		put_text_value(b, s);
}

static void put_line(struct buf *b, enum log_level level, const char *event, const char *msg, const struct log_field *fields)
{
	static const char *const lower[] = { "error", "warn", "info", "debug" };
	static const char *const upper[] = { "ERROR", "WARN ", "INFO ", "DEBUG" };
	bool json = log_format_now == LOG_FORMAT_JSON;
	char cut[LOG_VALUE_MAX + 1];

	if (json)
		buf_puts(b, "{\"ts\":\"");
	put_time(b);
	if (json) {
		buf_printf(b, "\",\"level\":\"%s\",\"event\":\"%s\",\"msg\":", lower[level], event);
		buf_json_string(b, bounded(msg, cut));
	} else {
		buf_printf(b, " %s %s: ", upper[level], event);
		put_text_msg(b, bounded(msg, cut));
	}
	for (; fields && fields->key; fields++)
		put_field(b, fields);
	buf_puts(b, json ? "}\n" : "\n");
}

void log_write(enum log_level level, const char *event, const char *msg, const struct log_field *fields)
{
	struct buf *b = &log_line;

	pthread_mutex_lock(&log_lock);
	put_line(b, level, event, msg, fields);
	if (buf_failed(b) == 0)
		IGNORE(write(STDERR_FILENO, b->data, b->len)); /* there is no other place to complain to */
	if (b->cap > 2 * LOG_LINE_KEEP)
		buf_fini(b);
	buf_reset(b);
	pthread_mutex_unlock(&log_lock);
}

bool log_limit(struct log_limit *l, int64_t now_ns, int64_t every_ms, uint32_t *ret_left_out)
{
	if (now_ns < l->next_ns) {
		l->left_out++;
		return false;
	}
	*ret_left_out = l->left_out;
	l->left_out = 0;
	l->next_ns = now_ns + every_ms * 1000000;
	return true;
}
