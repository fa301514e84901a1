// Package cli is what the command line reads and writes: the kickstart file, the help texts, what apply did, what the first
// start shows. It is not the command line itself: the verbs are put together in cmd/run, and settings are the config
// package's.
//
// The one thing to know is that [ReadKickstart] checks how a kickstart file is written, and the use case what it says.
// [Document.Explain] brings the second back to lines of the file, so that an operator sees one kind of error for both. No
// such error repeats a value: an API key stands in every kickstart file, and any value may be one in the wrong place.
//
// Decisions:
//
//   - Anchors, aliases, merge keys and tags are refused. The file is short and says what somebody may do: it should read the
//     same to everyone. So one reader's shorthand lost.
//   - ${NAME} and ${file:PATH} are replaced after parsing, in values only. Replacing in the text, as envsubst does,
//     lost: a variable could then add an API key. For the same reason an unset variable is an error, not an empty
//     value.
//   - The first API key is in a file and on no screen. Showing it on a terminal as well lost: a terminal keeps it, and
//     README's tour, which reads the file, has to work there too.
package cli
