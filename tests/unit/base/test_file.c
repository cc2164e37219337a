/* SPDX-License-Identifier: Apache-2.0 */
/* test_file.c: files are read whole within a bound and replaced atomically; a failed write leaves the old file and no
 * litter. */
#include "agent/base/file.h"

#include "tests/unit/base/check.h"

static void check_content(const char *path, const char *want, size_t len)
{
	struct buf b = BUF_INIT(1 << 20);
	struct err_info err = ERR_INFO_INIT;

	if (file_read(path, &b, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(b.len, len);
	assert_memory_equal(b.data ? b.data : "", want, len);
	buf_fini(&b);
}

static void test_write_and_read(void **state)
{
	const char *path = in_folder(*state, "f"), *beside = in_folder(*state, "f.new");
	static char large[100000];
	struct stat st;

	memset(large, 'a', sizeof(large));
	large[77] = '\0';
	assert_int_equal(file_write(path, "one", 3, NULL), 0);
	check_content(path, "one", 3);
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(file_write(path, large, sizeof(large), NULL), 0);
	check_content(path, large, sizeof(large));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(file_write(path, "", 0, NULL), 0);
	check_content(path, "", 0);
	assert_int_not_equal(access(beside, F_OK), 0);
	assert_int_equal(unlink(path), 0);
}

/* What a crash left beside the file, with any mode or as a link to elsewhere, does not matter. */
static void test_leftover(void **state)
{
	const char *path = in_folder(*state, "f"), *beside = in_folder(*state, "f.new"), *other = in_folder(*state, "other");
	struct stat st;

	assert_int_equal(file_write(other, "mine", 4, NULL), 0);
	assert_int_equal(symlink(other, beside), 0);
	assert_int_equal(file_write(path, "new", 3, NULL), 0);
	check_content(path, "new", 3);
	check_content(other, "mine", 4);
	assert_int_equal(rename(other, beside), 0);
	assert_int_equal(chmod(beside, 0666), 0);
	assert_int_equal(file_write(path, "newer", 5, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(unlink(path), 0);
}

static void test_failed_write(void **state)
{
	const char *dir = in_folder(*state, "d"), *inside = in_folder(*state, "d/x"), *beside = in_folder(*state, "d.new");
	struct err_info err = ERR_INFO_INIT;
	char path[5000];

	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(file_write(inside, "x", 1, NULL), 0);
	assert_int_equal(file_write(dir, "y", 1, &err), -EISDIR); /* rename over a folder */
	assert_non_null(strstr(err.text, dir));
	assert_int_not_equal(access(beside, F_OK), 0);
	assert_int_equal(file_write(in_folder(*state, "no/such"), "y", 1, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no/such"));
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(file_write(path, "y", 1, &err), -ENAMETOOLONG);
	assert_int_equal(unlink(inside), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void test_failed_read(void **state)
{
	const char *path = in_folder(*state, "f");
	struct err_info err = ERR_INFO_INIT;
	struct buf b = BUF_INIT(10);

	assert_int_equal(file_read(path, &b, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	assert_non_null(strstr(err.text, "No such file"));
	assert_int_equal(file_read(*state, &b, &err), -EISDIR);
	assert_int_equal(file_write(path, "0123456789", 10, NULL), 0);
	assert_int_equal(file_read(path, &b, &err), 0);
	assert_string_equal(buf_text(&b), "0123456789");
	buf_reset(&b);
	assert_int_equal(file_write(path, "0123456789A", 11, NULL), 0);
	assert_int_equal(file_read(path, &b, &err), -EMSGSIZE);
	assert_non_null(strstr(err.text, "larger than 10 bytes"));
	buf_fini(&b);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_and_read),
		cmocka_unit_test(test_leftover),
		cmocka_unit_test(test_failed_write),
		cmocka_unit_test(test_failed_read),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_drop);
}
