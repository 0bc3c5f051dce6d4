/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the server's protocols: a loop on a thread of its own, and a plain blocking
 * client that says exactly what it is told to, byte by byte.
 */
#ifndef TESTS_NFS_HARNESS_H
#define TESTS_NFS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "rpc/server.h"

/* Starts a thread with a loop.  harness_call() runs FN(ARG) there in a fiber and waits. */
void harness_start(void);
void harness_call(void (*fn)(void *arg), void *arg);
void harness_stop(void);

/* An RPC message under construction. */
struct msg { uint8_t *data; size_t len, cap; };
void msg_u32(struct msg *m, uint32_t v);
void msg_u64(struct msg *m, uint64_t v);
void msg_bytes(struct msg *m, const void *s, size_t len);	/* as they are */
void msg_opaque(struct msg *m, const void *s, size_t len);
void msg_string(struct msg *m, const char *s);
void msg_free(struct msg *m);
/* The header of a call with AUTH_SYS; UID also stands for the primary group. */
void msg_call(struct msg *m, uint32_t xid, uint32_t prog, uint32_t vers, uint32_t proc,
	      uint32_t uid);

int client_connect(uint16_t port);				/* from 127.0.0.1 */
int client_connect_from(uint16_t port, unsigned host);		/* from 127.0.0.HOST */
void client_send_raw(int fd, const void *data, size_t len);
void client_send(int fd, const struct msg *m);			/* one record, one fragment */
/* A whole record, malloc'ed; NULL when the connection ended. */
uint8_t *client_recv(int fd, size_t *ret_len);
/* True when the server ends the connection within TIMEOUT_MS; takes in what comes before. */
bool client_ended(int fd, int timeout_ms);

uint32_t get32(const uint8_t *p);

#endif
