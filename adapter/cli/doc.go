// Package cli is the command line: the commands and their flags, help, completion and man pages; and what commands
// read and write, which is the kickstart file, what apply did, and what the first start shows. It does no work
// itself: cmd/run gives [Program] the functions that do, and package config resolves the settings.
//
// The one thing to know is that [ReadKickstart] checks how a kickstart file is written, and the use case what it
// says. [Document.Explain] brings the second back to lines of the file, so that an operator sees one kind of error
// for both. No such error repeats a value: an API key stands in every kickstart file, and any value may be one in the
// wrong place.
//
// Decisions:
//
//   - Commands are cobra's, with help and messages of our own. cobra's own messages repeat values, and a value may be
//     a password in the wrong place. The standard library's flag package has no commands, completion or man pages.
//   - The first thing that is wrong with a command line is reported alone; all that is wrong with settings together,
//     by config. A parser of our own for both lost: it would have to know what cobra knows.
//   - `refreshd` alone prints help and exits with status 0, as git and kubectl do. It once served: who typed it to
//     see the usage had made a database.
//   - Anchors, aliases, merge keys and tags are refused. The file is short and says what somebody may do: it should
//     read the same to everyone. So one reader's shorthand lost.
//   - ${NAME} and ${file:PATH} are replaced after parsing, in values only. Replacing in the text, as envsubst does,
//     lost: a variable could then add an API key. For the same reason an unset variable is an error, not an empty
//     value.
//   - The first API key is in a file and on no screen. Showing it on a terminal as well lost: a terminal keeps it,
//     and README's tour, which reads the file, has to work there too.
package cli
