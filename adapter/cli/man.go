package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// markdown escapes brackets and the like, because the man pages are made from the texts as Markdown.
var markdown = strings.NewReplacer("[", `\[`, "]", `\]`)

// man is hidden: `make man` runs it, for a package of the program.
func (l *line) man() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Hidden: true, DisableFlagsInUseLine: true,
		Short:   "Write the man pages into a directory",
		Long:    "Write a man page for each command and each topic of help into a directory, and create it.",
		Example: "  refreshd man ./man && man ./man/refreshd-serve.1",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return wrong(c, "name one directory")
			}
			return nil
		},
		RunE: l.work(func(c *cobra.Command, args []string) error {
			dir := args[0]
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			root := c.Root()
			root.DisableAutoGenTag = true // without the day of the build
			eachCommand(root, func(c *cobra.Command) {
				if c.Flags().Lookup("config") != nil {
					var keys strings.Builder
					writeUnflagged(&keys, topOf(c))
					c.Long += "\n" + keys.String()
				}
				c.Long = markdown.Replace(c.Long)
				c.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = markdown.Replace(f.Usage) })
			})
			root.Long += "\n\nFurther pages: refreshd-" + strings.Join(topicNames(), "(7), refreshd-") + "(7)."
			header := doc.GenManHeader{Section: "1", Source: "refreshd " + l.Version, Manual: "refreshd"}
			if err := doc.GenManTree(root, &header, dir); err != nil {
				return err
			}
			for _, name := range topicNames() {
				var page bytes.Buffer
				t := &cobra.Command{
					Use: "refreshd-" + name, Short: topics[name].short, Long: "```\n" + topics[name].text() + "```\n",
					DisableAutoGenTag: true, DisableFlagsInUseLine: true,
				}
				t.Flags().Bool("help", false, "")
				t.Flags().Lookup("help").Hidden = true // cobra adds one that shows, unless there is one
				about := doc.GenManHeader{Section: "7", Source: header.Source, Manual: header.Manual}
				if err := doc.GenMan(t, &about, &page); err != nil {
					return err
				}
				// A page of section 7 is about no program, and cobra takes its name for one.
				text := bytes.Replace(page.Bytes(), []byte("fBrefreshd-"+name), []byte("fBrefreshd help "+name), 1)
				if err := os.WriteFile(filepath.Join(dir, "refreshd-"+name+".7"), text, 0o644); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintln(l.Stdout, "the man pages are in", dir)
			return err
		}),
	}
}
