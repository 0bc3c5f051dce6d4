/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole server under one seed: file system, protocols and fibers as in production, on a
 * simulated loop, disk and network, with clients that have habits and a world that is hard on
 * them.
 *
 *     world.c         the server's life: starting, faults, dying, coming back
 *     world_net.c     calls that are lost, cut off, repeated; a small NFSv3 client
 *     world_nfs4.c    a small NFSv4.2 client
 *     world_locks.c   a file that clients lock, and who may think that he holds what
 *     world_snap.c    snapshots, and whether what is in them stays
 *     world_admin.c   calls of the management side, and what may have become of them
 *     world_volumes.c a client's own volumes: restored, cloned, destroyed
 *     world_ship.c    volumes that are sent and received
 *     world_tenants.c a volume that is restored while many work in it
 *     world_trees.c   clones of directories
 *     world_quota.c   quotas of clients' directories
 *     world_client.c  what each client was promised, and whether it is there
 *     world_habits.c  what clients do
 *     world_test.c    seeds, options, the report
 *
 * Each client works one call at a time on files of its own, so it knows exactly what they may
 * hold: every block bears a tag that says who wrote it and when.  Writes that the server has not
 * promised to keep are kept by the client, as a real one does, and sent again after a restart.
 * Then what the restart left must be what the client's calls up to some point had made, in
 * their order, with all that was promised.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "../nfs/harness.h"
#include "base/fiber.h"
#include "base/list.h"
#include "nfs/handle.h"
#include "nfs/server.h"
#include "rpc/xdr.h"
#include "sim_disk.h"

#define CLIENTS_MAX 12
#define FILES_MAX 24			/* of a client */
#define FILE_BLOCKS 96
#define PENDING_MAX 4096
#define GOLDENS 3
#define LOCK_RANGES 5
#define GRACE_S 5			/* the server's */
#define LEASE_S 90
#define TOLD_MAX 16			/* kinds of faults that are counted */

enum world_fault { WF_CUT, WF_KILL, WF_CUT_RECOVERY, WF_IO_ONCE, WF_IO_GOOD, WF_CORRUPT, WF_LOST_WRITE,
		   WF_MISDIRECT, WF_SLOW, WF_LOST_CALL, WF_LOST_REPLY, WF_TWICE, WF_GARBAGE,
		   WF_RESTART, WF_CLOCK, WF_MEMORY, WF_KINDS };
extern const char *const world_fault_names[WF_KINDS];

struct file {
	bool exists, doubt;		/* doubt: a call that makes or removes it is under way */
	char name[24];
	uint8_t fh[64];
	uint32_t fh_len, nblocks, serial;
	uint64_t tags[FILE_BLOCKS];	/* of the last write of each block; 0: zeros */
};

/* A block of a write that may be lost with the server, oldest first. */
struct pending { struct file *file; uint32_t block, op; uint64_t before, after; };

#define SHOTS 2
struct travels;				/* world_volumes.c */
struct tenancy;				/* world_tenants.c */
struct shot { bool there; char name[24]; struct file file; };	/* a snapshot, and a file as it was then */

struct world;
struct client {
	struct world *w;
	unsigned id;
	const struct habit *habit;
	const struct protocol *nfs;
	struct rng rng;
	uint32_t xid;
	uint8_t root[64];		/* of the volume where its directory is */
	uint8_t dir[64];
	uint32_t dir_len;
	struct file files[FILES_MAX];
	struct pending *pending;
	uint32_t npending;
	uint32_t op;			/* numbers its writes; part of the tags */
	uint32_t flying;		/* the write that is under way; 0: none */
	uint64_t verifier;		/* the server's, in this life of it */
	bool have_verifier;
	uint64_t epoch;			/* the server's life that it has last seen */
	bool checking, again;
	uint32_t serial;		/* of names */
	struct shot shots[SHOTS];
	struct { bool has, unsure; uint64_t limit; uint8_t dir[64]; } quota;	/* of DIR, in blocks */
	struct travels *travels;	/* who has volumes of his own */
	struct tenancy *tenancy;	/* who shares one that is restored */
	uint64_t ops, errors;
	/* NFSv4's session, with one slot */
	bool have_session;
	uint64_t clientid;
	uint32_t slot_seq;
	uint8_t session[16];
	bool was_short;			/* space was, when its last call was executed */
	unsigned launched;		/* how often that call has reached the server */
	uint64_t renewed_ns;		/* when the last call was sent that had a session */
	uint64_t complete;		/* the server's life to which it last said that it reclaims no more */
	/* NFSv4's locks, as far as the client knows */
	struct {
		bool open, have_lock;	/* there are stateids */
		uint64_t epoch, clientid;	/* of the server and of the client when it got them */
		uint8_t open_id[16], lock_id[16];
		bool held[LOCK_RANGES];
	} locks;
};

enum home { HOME_MAIN, HOME_OWN, HOME_SHARED };
struct habit { const char *name; void (*step)(struct client *c); enum home home; };
extern const struct habit habits[];
extern const unsigned nhabits;
extern const struct habit *const habit_traveller;

struct world {
	uint64_t seed;
	struct rng rng, net, secure;
	struct fs_config cfg;
	uint64_t nblocks;
	struct dev *dev;
	struct fs *fs;
	struct nfs_server *server;
	uint64_t epoch;			/* of the server's life; 0: it was never up */
	bool up, closing;
	bool ambushed;			/* the power has gone, and nobody has seen to it yet */
	struct waitq ambush;
	uint64_t up_ns;			/* since when it is up */
	uint64_t lived_ns;		/* how long its last life was */
	unsigned in_flight, running;	/* calls in the server; clients that live */
	struct waitq changed;
	struct file golden[GOLDENS];
	struct file locked;		/* the file whose ranges are locked */
	uint64_t locks, reclaimed;	/* that were granted */
	uint8_t root[64];
	uint32_t root_len;
	uint8_t shared_root[64];
	struct client *landlord;	/* who restores the shared volume */
	uint32_t restoring, restored;	/* see world_tenants.c */
	struct client clients[CLIENTS_MAX];
	unsigned nclients;
	/* what this world is like */
	bool tolerant;			/* the disk damages things: errors are right answers */
	bool full;			/* so small that space runs out */
	bool lean;			/* memory runs out at times */
	bool ships;			/* volumes are sent and received */
	bool limits;			/* clients' directories have quotas */
	uint64_t reserve;		/* blocks for the volume where most are; 0: none */
	bool metered;			/* what that holds has a limit, which nobody comes near */
	bool dedup;			/* clients copy blocks of golden images, and the volume notices */
	unsigned leisure;		/* clients rest after one step in so many; 0: never */
	unsigned rudeness;			/* of the network: one call in so many is disturbed; 0: none */
	uint64_t fault_every_ns, end_ns;
	uint64_t faults[WF_KINDS];
	uint64_t requests;		/* hash of all that the disk was asked */
	uint64_t looked_back;		/* into snapshots */
	uint64_t quota_refused, quotas_counted, jobs_cut;
	uint64_t restores, volume_clones, tree_clones, shipped, updated, resumed;
	uint64_t calls, restarts, checked_blocks, lost_writes, replayed, virtual_ns;
};

/* ---- world.c ---- */
void world_run(struct world *w);	/* in a fiber; w->seed is set */
/* A line of the story, with --trace. */
void world_tell(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool world_space_is_short(struct world *w);	/* now */
void world_counted(struct world *w, enum world_fault f);
/* The power goes, or the daemon dies, N requests of the disk from now, where such things happen. */
void world_ambush(struct world *w, uint64_t n);

/* ---- world_net.c ---- */

struct reply {
	uint8_t *data;
	struct xdr_in in;		/* after the RPC header */
	bool restarted;			/* sent once more to another life of the server */
	bool refused;			/* by RPC */
};
/* Begins a call of program PROG in the client's message buffer. */
void call_begin(struct client *c, struct msg *m, uint32_t prog, uint32_t vers, uint32_t proc);
/* Sends M until it is answered, whatever the network does.  false: the world ends. */
bool call_send(struct client *c, struct msg *m, struct reply *ret);
void reply_done(struct reply *r);

/* What a call was answered, in numbers that NFSv3 and NFSv4 share; UINT32_MAX: the world ends.
 * restarted: it may have been done by an earlier life of the server. */
struct said { uint32_t status; bool restarted; };
/* Each sends a call and takes its reply apart. */
struct protocol {
	struct said (*lookup)(struct client *c, const uint8_t *dir, uint32_t dir_len, const char *name,
			    uint8_t *ret_fh, uint32_t *ret_len, uint64_t *ret_size);
	struct said (*create)(struct client *c, const char *name);
	struct said (*mkdir)(struct client *c, const uint8_t *dir, uint32_t dir_len, const char *name);
	struct said (*remove)(struct client *c, const char *name, bool dir);
	struct said (*rename)(struct client *c, const char *from, const char *to);
	struct said (*truncate)(struct client *c, const struct file *f, uint64_t size);
	struct said (*write)(struct client *c, const struct file *f, uint64_t offset, const void *data,
			   uint32_t len, uint32_t stable, uint32_t *ret_committed,
			   uint64_t *ret_verifier);
	struct said (*read)(struct client *c, const struct file *f, uint64_t offset, uint32_t len,
			  void *buf, uint32_t *ret_len);
	struct said (*commit)(struct client *c, const struct file *f, uint64_t *ret_verifier);
	/* Names in the client's directory, the two dots among them. */
	struct said (*list)(struct client *c, uint32_t *ret_names);
};
extern const struct protocol nfs3, nfs4;
struct said v4_clone(struct client *c, const struct file *golden, const struct file *f);

/* ---- world_admin.c ---- */
/*
 * Runs FN in the server as an administrator's call, in a fiber of its own, and waits until what it did is
 * stable.  0: so it is.  NOBODY: there was no server, and nothing happened.  All else leaves it open what
 * happened, until admin_settled().  WHAT is for the story; risky: the server may be made to die just then.
 */
#define NOBODY 1
int admin_call(struct client *c, int (*fn)(struct fs_req *req, void *arg), void *arg, const char *what);
int admin_risky_call(struct client *c, int (*fn)(struct fs_req *req, void *arg), void *arg, const char *what);
/* What is to be seen now stays so.  false: nobody can tell, the disk is too bad. */
bool admin_settled(struct client *c);

/* For these calls: what they are about, and what they find. */
struct volume_call {
	const char *volume, *snapshot, *name;	/* NAME: of a clone */
	bool force, busy, found;
	uint8_t *root;			/* NULL, or where admin_find_volume() puts its root's handle */
};
int admin_take(struct fs_req *req, void *volume_call);
int admin_forget(struct fs_req *req, void *volume_call);	/* destroys the snapshot */
int admin_restore(struct fs_req *req, void *volume_call);	/* 0 too if it is busy */
int admin_clone(struct fs_req *req, void *volume_call);
int admin_destroy(struct fs_req *req, void *volume_call);
int admin_find_snapshot(struct fs_req *req, void *volume_call);
int admin_find_volume(struct fs_req *req, void *volume_call);
/* The change number of the file of handle FH. */
int admin_look(struct client *c, const uint8_t *fh, uint64_t *ret_change);

/* ---- world_ship.c ---- */
/* Sends a snapshot of VOLUME, or what has changed since FROM, and receives it as volume NAME; goes on where an
 * earlier call was interrupted. */
struct ship_call {
	const char *volume, *snapshot, *from, *name;
	uint64_t seed;
	bool full, busy, resumed;	/* full, busy: it was not done, and 0 returned */
};
int admin_ship(struct fs_req *req, void *ship_call);
int admin_export(struct fs_req *req, void *volume_call);	/* to everybody */
int admin_forget_all(struct fs_req *req, void *volume_call);	/* destroys all snapshots */
int admin_forget_part(struct fs_req *req, void *volume_call);	/* what has come for VOLUME */
void world_sweep(struct world *w);	/* as pandod does when it starts */

/* ---- world_tenants.c ---- */
void tenancy_start(struct client *c);	/* before all faults */
void tenancy_end(struct client *c);
void tenancy_free(struct client *c);
void client_share(struct client *c);

/* ---- world_volumes.c ---- */
void travels_start(struct client *c);	/* before all faults: makes its first volume */
void travels_end(struct client *c);	/* looks at all of them */
void travels_removed(struct client *c, const struct file *f);
/* Something with its volumes, or WORK in one. */
void client_travel(struct client *c, void (*work)(struct client *c));

/* ---- world_trees.c ---- */
/* Clones directory SRC with FILES in it (NULL: those that it has now), does some WORK in the clone, and
 * removes it. */
void client_tree(struct client *c, const uint8_t *src, const struct file *files, void (*work)(struct client *c));

/* ---- world_snap.c ---- */
/* The same name and number, in the snapshot: fills in S's handle.  false: the world ends, or the disk doesn't
 * give it. */
bool client_find_shot(struct client *c, struct shot *s);
void client_snapshot(struct client *c);	/* of one of its files, with nothing pending */
void client_dedup(struct client *c);	/* a job in the background, if none runs */
void client_look_back(struct client *c);	/* at one: it must be as it was then */

/* ---- world_quota.c ---- */
#define DQUOT 69			/* as a status */
void client_quota(struct client *c);	/* sets one now and then, or takes it away */
bool quota_applies(const struct client *c);	/* where it is now */
void quota_end(struct client *c);
/* Before a write of N blocks from BLOCK on: what counts by now, at most and at least; what it needs. */
struct quota_bounds { bool known; uint64_t epoch, most, least, need; };
void quota_look(struct client *c, const struct file *f, uint32_t block, uint32_t n, struct quota_bounds *ret);
void client_hog(struct client *c);	/* somebody wants all the space there is */
/* What is left for the volume where it is, of what is reserved; UINT64_MAX: nobody knows. */
uint64_t reserve_left(struct client *c);
void client_count(struct client *c);	/* what the volume holds, now and then */
void meter_end(struct world *w);	/* that is what there is */
void quota_judge(struct client *c, const struct quota_bounds *q, uint32_t status);	/* is that right? */

/* ---- world_client.c ---- */
void client_start(struct client *c);	/* in a fiber: its directory, then its habit until the end */
/* The server has another life: what it kept must be right.  Called by call_send(). */
void client_restarted(struct client *c);
void client_adopt(struct client *c, struct file *f);	/* it must be there under its name: takes its handle */
/* The tag of each block, as read; UNREAD for what could not be read.  false: the world ends. */
#define UNREAD (UINT64_MAX - 1)
bool client_read_tags(struct client *c, const struct file *f, uint64_t tags[FILE_BLOCKS]);
bool client_quiet(struct client *c);	/* nothing is pending any more */
void client_forget(struct client *c, struct file *f);	/* nobody knows what it is like */
void client_excuse(struct client *c, const char *what, uint32_t status);	/* or the test fails */
bool client_again(struct client *c, struct said v, unsigned tries);	/* worth asking again */
struct file *client_pick(struct client *c);	/* one that exists, or NULL */
struct file *client_make(struct client *c);	/* NULL: it could not */
void client_remove(struct client *c, struct file *f);
void client_rename(struct client *c, struct file *f);
/* The n blocks from BLOCK on get new tags; STABLE as NFSv3 has it. */
void client_write(struct client *c, struct file *f, uint32_t block, uint32_t n, uint32_t stable);
void client_commit(struct client *c, struct file *f);
void client_verify(struct client *c, struct file *f);
void client_truncate(struct client *c, struct file *f, uint32_t nblocks);
/* COUNT clones in one call of the management side: all of them or none. */
void client_clone(struct client *c, const struct file *golden, unsigned count);
/* F becomes a clone of a golden image, by NFSv4's CLONE. */
void client_clone_into(struct client *c, struct file *f, const struct file *golden);
void client_list(struct client *c);	/* as many names as there are files */

/* ---- world_locks.c ---- */
void client_lock(struct client *c);	/* by NFSv4: one range more, or one less */

/* Blocks: their tag in front, then noise that follows from it; 0 is a block of zeros. */
void block_fill(uint64_t tag, void *buf);
uint64_t block_tag(const void *buf);	/* UINT64_MAX: no block that anybody wrote */

#endif
