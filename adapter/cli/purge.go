package cli

import "github.com/spf13/cobra"

func (l *line) purge() *cobra.Command {
	return l.configured(&cobra.Command{
		Use: "purge", GroupID: settingUp,
		Short: "Delete ended refresh tokens now",
		Long: `Delete the refresh tokens that ended more than --purge-after ago: revoked, expired, or of an
application or tenant that was deleted. Until then an exchange says why it is refused; afterwards
the token string is unknown. Then delete revocation marks that cover nothing any more, what
deleted tenants left behind, and old events.

There is no need to run it: serve does the same every --purge-interval. Run it on a schedule of
your own, with --purge-interval=0s for every serve, or once after many sessions were revoked.

It makes one pass over all refresh tokens, by their ids, while the service serves: 500 at a time,
with a pause after each step that is four times as long as the step. It holds no lock for longer
than a step, and skips rows that an exchange has locked. It prints its progress each second:

    looked at 250000 refresh tokens (25000 a second), deleted 31044

If a pass is interrupted (Ctrl-C, kill -9, a power failure), nothing is lost: the next purge, by
any process, continues it. One process purges a database at a time. If another one is purging, or
was killed while purging up to 30 seconds ago, purge says so and exits with status 1. The database
keeps the space that becomes free for new refresh tokens. Only VACUUM FULL (SQLite: VACUUM) returns
it to the disk, and it blocks all requests meanwhile.

If the clocks of this machine and of PostgreSQL are more than a minute apart, purge deletes
nothing, prints the difference, and exits with status 1.

It needs no master key. A store in memory is purged by the serve that has it.`,
		Example: `  REFRESHD_DATABASE_URL='postgres://refreshd:PASSWORD@db.example/refreshd' refreshd purge
  refreshd purge --purge-after 168h`,
	}, l.Purge)
}
