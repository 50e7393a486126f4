"""The offline grammar: a subset of English over what the connected applications really have.

A text is a row of clauses, divided by `,` `;` `.` `then` and, before a verb, `and`. Words of politeness (please, the,
now) do not count. `it`, `that` and `this` are the last thing that was spoken of. What each clause may be:

| clause | instruction |
|---|---|
| `set` PROPERTY `to` VALUE · `make` THING COLOUR · `turn` THING `on/off` | `context.set` |
| `mute track 2` · `hide` THING · `move/rotate/scale` THING `to/by` … | `context.set` |
| `raise/lower` PROPERTY `by` VALUE | `context.set`, reckoned from the value of now |
| `what is` PROPERTY · `get` PATH | `context.get` |
| `move` PATH `to` PATH · `delete` PATH | `context.move`, `context.delete` |
| `add/create` [COLOUR] KIND [`called` NAME] [`at` X Y Z] · the words of a command, then its arguments | `app.command` |
| `save this as scene` NAME · `recall` NAME [`over` N `seconds`] | `scene.save`, `scene.recall` |
| `make an image of …` [`with` MODEL] [`and put it at` PATH], `a video`, `a 4-bar loop`, `say …` | `generate.…` |
| `remember that …` · `what do you know about …` | `memory.remember`, `memory.recall` |
| `play` `stop` · `go to 10 seconds` | `transport.…` |
| `wait` N `beats/bars/seconds` · `wait until` PATH `is` VALUE | `wait.…` |
| `run workflow` NAME [`with` KEY `=` VALUE] | `workflow.call` |

A PROPERTY is a path, or words of one: every word must be in it, and the last segment of the path must be meant.
A THING is an object, track or light by its name, its kind (`the cube`, `the light`) or its number from 1 (`track 2`).
A VALUE is a number with or without a unit, on or off, a colour, some numbers, or a text in quotation marks.
What holds for more than one application or thing is asked back; nothing that destroys is ever guessed.

`set the tempo to 128` means the one connected application that has a tempo. Where there are several, none, or that one
follows the timeline that all share, it means that timeline's: its leader is asked to take it, and its followers get it.
`play`, `stop` and `go to` always mean the shared timeline; `play in blender` means the application.
"""
