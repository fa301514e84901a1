// Package gormstore stores everything in SQLite or PostgreSQL: a port.Store over GORM.
//
// It holds no rule of refreshd; package domain decides what a refresh token may do. It caches nothing that can change,
// so any number of processes can share one database.
//
// Read exchange.go first. An exchange is one statement, a compare-and-swap that checks and writes everything.
// Concurrent exchanges share writes: see groupcommit.go. The rest of the package is ordinary.
//
// The SQL is written out. GORM runs it, with context, pool, log and error translation, and maps nothing. One text
// serves both engines, so placeholders are $1, $2, … and appear first in ascending order, because SQLite numbers them
// in the order of appearance. A text contains no '?' or '@', which GORM would take for a placeholder. Instants are
// microseconds and flags 0 and 1. The engines differ in open.go, file.go, connect.go (with hosts.go and pgbouncer.go),
// in what the exchange's statement returns and how a batch is written, in how the janitor deletes, in how facts get
// their positions (reach.go), and in the migrations.
//
// In PostgreSQL an exchange must stay a HOT update, which touches no index: never index a column that an exchange
// changes.
//
// # Decisions
//
// The SQLite dialect is written here, a page long (dialect.go). gorm.io/driver/sqlite imports the cgo driver
// mattn/go-sqlite3 even if it is given another connection: two SQLite engines in one binary, and a C compiler in every
// build with cgo.
//
// Plans are generic and use indexes. Otherwise PostgreSQL would plan the joins of the exchange at each call, or keep a
// plan that reads whole tables because they were small when it was made. Migrations do not analyse new tables, for the
// same reason: what PostgreSQL assumes of a table without statistics is better than the statistics of an empty one.
//
// Four searches by the whole key of marks, in one subquery, find the marks that cover a refresh token. One search, with
// IN (”, …) for each part that a mark leaves open, takes as long, but whether PostgreSQL searches by the whole key then
// depends on its statistics (see covering). An epoch kept beside the application or the tenant gained nothing.
//
// An application has a row only while its tenant exists. Its effective policy is stored beside it, and is active only
// if both are. So the exchange joins applications, and never tenants. The parts of a policy that statements compare are
// columns. The whole policy is one text, decoded once although many applications have it: sixteen columns cost
// more than the update.
//
// On PostgreSQL the revocation feed has two connections of its own. Behind the queue of an overloaded pool it would be
// late when it matters, and every resource server with it.
//
// SQLite has one connection that writes and a pool of others that read. Several writers would wait for one another
// inside SQLite, by polling; with one they queue in order. It runs with synchronous=FULL, so a committed rotation
// survives a power failure. The commit is most of the cost of an exchange there, so sharing one is what makes it fast.
//
// SQLite does not check its files: it applies any log that it finds, continues with a file that was deleted, and
// creates a new one if there was none. So file.go checks them: before they are opened, by a read-only connection, so
// that a file that is refused stays unchanged; and after each call, before it returns. A statement could not detect
// it, because SQLite would run it on the deleted file.
package gormstore
