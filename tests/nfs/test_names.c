/* SPDX-License-Identifier: Apache-2.0 */
/* Names of users while the loop goes on: a thread asks, and not without bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "harness.h"
#include "nfs/names.h"

#define ASKERS (NAMES_WAITING_MAX + 36)

static struct names *names;
static unsigned running, found, unknown, refused;

static int find(bool group, const char *name, uint32_t *ret_id)
{
	return names_find(names, group, (const uint8_t *)name, strlen(name), ret_id);
}

static void asker(void *arg)
{
	uint32_t id = 7;
	char name[32];
	int err;

	snprintf(name, sizeof(name), (uintptr_t)arg % 2 ? "root@%u" : "nobody %u",
		 (unsigned)(uintptr_t)arg);
	err = find(false, name, &id);
	assert_int_equal(id, err ? 7 : 0);
	found += !err;
	unknown += err == -ENOENT;
	refused += err == -EAGAIN;
	running--;
}

static void many(void *arg)
{
	assert_int_equal(names_new(&names), 0);
	for (uintptr_t i = 0; i < ASKERS; i++, running++)
		assert_int_equal(fiber_spawn(asker, (void *)i, "asker"), 0);
	while (running)
		loop_sleep_ns(1000000);
	assert_int_equal(found, NAMES_WAITING_MAX / 2);
	assert_int_equal(unknown, NAMES_WAITING_MAX / 2);
	assert_int_equal(refused, ASKERS - NAMES_WAITING_MAX);
}

static void once_more(void *arg)
{
	uint64_t switches = fiber_switches();
	uint32_t id;

	assert_int_equal(find(false, "root", &id), 0);		/* kept: nobody is asked */
	assert_int_equal(id, 0);
	assert_int_equal(find(false, "12", &id), 0);
	assert_int_equal(id, 12);
	assert_int_equal(fiber_switches(), switches);
	assert_int_equal(find(true, "no such group", &id), -ENOENT);
	assert_true(fiber_switches() > switches);
	names_free(names);
}

static void test_names(void **state)
{
	harness_start();
	harness_call(many, NULL);
	harness_call(once_more, NULL);
	harness_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_names) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
