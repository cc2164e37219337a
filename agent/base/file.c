/* SPDX-License-Identifier: Apache-2.0 */
/* file.c: bounded reads and atomic writes of small files. */
#include "agent/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

int file_read(const char *path, struct buf *b, struct err_info *err)
{
	AUTO(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char chunk[4096];
	ssize_t n;

	if (fd < 0)
		return err_errno(err, -errno, "%s", path);
	while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, -errno, "%s", path);
		buf_append(b, chunk, (size_t)n);
		if (buf_failed(b) == -EMSGSIZE)
			return err_set(err, -EMSGSIZE, "%s: larger than %zu bytes", path, b->max);
		if (buf_failed(b) < 0)
			return err_errno(err, buf_failed(b), "%s", path);
	}
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_write(const char *path, const void *data, size_t len, struct err_info *err)
{
	char beside[PATH_MAX];
	AUTO(close_fdp) int fd = -1;
	int r;

	if (snprintf(beside, sizeof(beside), "%s.new", path) >= (int)sizeof(beside))
		return err_errno(err, -ENAMETOOLONG, "%s", path);
	IGNORE(unlink(beside)); /* a leftover, which would keep its mode; mostly there is none */
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(err, -errno, "%s", beside);
	r = write_all(fd, data, len);
	if (r == 0 && rename(beside, path) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	IGNORE(unlink(beside)); /* the first error is the one to tell */
	return err_errno(err, r, "%s", path);
}
