/* SPDX-License-Identifier: Apache-2.0 */
/* What sending and receiving streams (send_api.c, receive_api.c) share with the rest of src/admin. */
#ifndef ADMIN_REPL_API_H
#define ADMIN_REPL_API_H

#include "admin/admin_int.h"
#include "repl/receive.h"
#include "repl/send.h"

void post_sends(struct call *c);		/* send_api.c */
void get_send(struct call *c);
void post_send(struct call *c);
void delete_send(struct call *c);
void sends_init(struct admin *a);
void sends_stop(struct admin *a);		/* in a fiber, when no call is under way; waits */
/* In a fiber: is VOLUME's SNAPSHOT (NULL: any) being sent? */
bool sends_use(const struct admin *a, const char *volume, const char *snapshot);

void post_receives(struct call *c);		/* receive_api.c */
void get_receives(struct call *c);
void delete_receives(struct call *c);
void put_receive_data(struct call *c, const char *data, size_t len);
void put_receive(struct call *c);
void post_receive(struct call *c);
void delete_receive(struct call *c);
void receives_init(struct admin *a);
void receives_stop(struct admin *a);

#endif
