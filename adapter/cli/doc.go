// Package cli is the command line: the commands and their flags, help, completion and man pages; and what commands
// read and write: the kickstart file, the report of apply, and the notice of the first start. It does no work itself:
// cmd/run gives [Program] the functions that do, and package config resolves the settings.
//
// [ReadKickstart] checks the syntax of a kickstart file; the use case checks the values. [Document.Explain] adds the
// lines of the file to the errors of the use case, so that an operator sees one kind of error for both. No such error
// repeats a value: every kickstart file has an API key, and any value may be one in the wrong place.
//
// # Decisions
//
//   - The commands of administration are clients of the HTTP APIs, over the network or to this program's own handler
//     over the opened store ([Program].Operate). Calls of the use cases would have been a second code path with checks
//     and output of its own, and a service is administered by the first one anyway.
//   - A document of -f is sent unchanged: ${NAME} in it stands for itself. The output of show, edited, is what update
//     takes, and a name may have a dollar sign.
//   - Commands are cobra's, with help and messages of this package. cobra's own messages repeat values, and a value may
//     be a password in the wrong place. The standard library's flag package has no commands, completion or man pages.
//   - The first error of a command line is reported alone. Package config reports all errors of settings together.
//     A parser of this package for both was rejected: it would have to do again what cobra does.
//   - `refreshd` alone prints help and exits with status 0, as git and kubectl do. It once started the server: an
//     operator who typed it to see the usage had made a database.
//   - Anchors, aliases, merge keys and tags are refused. The file is short and grants permissions, so a reader should
//     understand it without them.
//   - ${NAME} and ${file:PATH} are replaced after parsing, in values only. Replacing in the text, as envsubst does, was
//     rejected: a variable could then add an API key. For the same reason an unset variable is an error, not an empty
//     value.
//   - The first API key is written to a file and never shown. Showing it on a terminal too was rejected: a terminal
//     keeps it, and README's tour reads the file, so it works without.
package cli
