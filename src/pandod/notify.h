/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the service manager that started us how we are doing: sd_notify(3)'s protocol. */
#ifndef PANDOD_NOTIFY_H
#define PANDOD_NOTIFY_H

/* Sends STATE ("READY=1") to $NOTIFY_SOCKET, if there is one.  Never waits. */
void notify(const char *state);

#endif
