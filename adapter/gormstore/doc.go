// Package gormstore keeps everything in SQLite or in PostgreSQL: a port.Store over GORM.
//
// It holds no rule of refreshd; what a refresh token may do is decided in domain. It keeps no copy in memory of
// anything that can change, so any number of processes can share one database.
//
// Read exchange.go first. An exchange is one statement there, a compare-and-swap that checks and writes everything;
// where many come at once, combine.go lets those that wait share the next write. The rest of the package is ordinary.
// Statements are written out: GORM carries them, with context, pool, log and error translation, and maps nothing. One
// text serves both engines, so placeholders are $1, $2, … and appear first in ascending order (SQLite numbers them so),
// there is no '?' or '@' in a text (GORM would take it for a placeholder), instants are microseconds and flags 0 and 1.
// The engines differ in open.go, file.go, connect.go (with hosts.go and pgbouncer.go), in what the exchange's statement
// returns and how a batch of them is written, in how the janitor deletes, and in the migrations.
//
// In PostgreSQL an exchange must stay a HOT update, which touches no index: never index a column that an exchange
// changes.
//
// # Decisions
//
// The dialect for SQLite is ours, a page long (dialect.go). gorm.io/driver/sqlite imports the cgo driver
// mattn/go-sqlite3 also when it is told to use another connection: two SQLite engines in one binary, and a C compiler
// in every build with cgo.
//
// Plans are generic, and made for keys. PostgreSQL would otherwise plan the exchange's joins at each call, or keep a
// plan that reads whole tables because they were small when it was made. Migrations do not analyse tables that they
// have just made, for the same reason: what PostgreSQL assumes of an unknown table is better than what it knows of an
// empty one.
//
// What covers a refresh token is found by one probe of the marks' key, with IN (”, …) for what a mark leaves open. Four
// separate probes cost up to half of the throughput, and an epoch kept beside the application or the tenant gained
// nothing.
//
// An application has a row only while its tenant does, and its effective policy is stored beside it, active only if
// both are. So the exchange joins applications, and never tenants. What statements compare of a policy are columns; the
// whole of it is one text, and read once for all applications with the same: as sixteen columns it cost more than the
// update.
//
// SQLite has one connection that writes and a pool of others that read. More writers would only wait for one another
// inside SQLite, by polling; here they queue in order. It runs with synchronous=FULL, so a rotation that was answered
// survives a power failure. A commit is most of an exchange there, so sharing one is what makes it fast.
//
// SQLite trusts its files: it takes any log for its own, goes on with a file that was deleted, and makes a new one
// where there was none. So file.go looks at them: before they are opened, by a connection that cannot write, so that
// what is refused is left as it was; and after each call, before its answer. A statement could not tell: it would be
// answered from the deleted file.
package gormstore
