"""From an intention to an order that may be sent, and everything that is said of it until it has ended.

Pure, driven by rows:

- `oms`: OMS, the state machine: one row in, requests and reports out
- `flow`: the flow of orders: released, canceled, changed, asked about
- `order_table`: every order, found by number or client id
- `groups`: brackets and one-cancels-other groups
- `targets`: weights of equity as orders
- `closes`: how much of a holding one order may close; `closing`: what is to be closed is asked for again until it is
- `client_ids`: ids made of (run, row, index) and nothing else
- `controls`: decisions of people, as rows
- `kill_switch`: what canceling everything came to
- `views`: orders by strategy, account, instrument
- `setup`: desks, instruments, limits: what an OMS starts from
- `outgoing`: what one row led to: requests for a venue, reports for listeners
- `sound`: rows that nobody can mean

Risk:

- `reasons`: why a request is denied, in the order in which it is answered
- `limits`: the limits of an account, from one validated TOML file
- `exposure`: the rows that risk reads: account, instruments, working orders, recent requests
- `risk`: the pre-trade check itself, compiled and pure
- `gate`: the risk books of all accounts, kept in step with the market and the orders

With surroundings:

- `session`: journal first, then the venue, then the bus
- `claims`: which order a venue means by a client id
- `recovery`: the same state again, from the journal
- `trading_views`: orders, positions and P&L of a journal in SQL

Trading:

- `trade`: a run put together from a plan, run, and let go of in order
- `continuation`: a run that goes on where its journal ends
- `plan`: what is traded where, by which strategies, under which limits
- `options`: the options of a run as people write them, made a plan
- `loop`: the trade loop: one task that decides the order of rows
- `inbox`: what waits for it; `hearing`: what venues say, taken at once
- `timer_rows`: time that passes, as rows
- `last_cancels`: what goes out when an error ends a run
- `reception`: what people and programs tell a run while it trades
- `links`: which venues' reports reach us
- `alarms`: what is wrong with a run now, by names that stay the same
- `tallies`: what a loop counts
- `monitor`: logs, metrics, status and scene of a run
- `lease`: the right to trade under a name, one process at a time
- `remote`: a run from outside: its status, decisions about it
- `sources`: feeds and lakes as rows of the run
- `bar_maker`: bars from its trades
- `floor`: the strategies of all desks, in step with the order management
- `seats`: which strategy sits at which desk
- `stepper`: one strategy over rows: intents out, state as bytes
- `sight`, `live_loop`: its compiled part
- `ladder`: books of a run that goes on
- `agree`: orders, holdings and money compared with a venue's
- `fees`: fees as rows; `payments`: funding as rows
- `router`: which venue gets an order; `routes`: the router of a desk, over several listings of one thing
- `real`: real venues of a run
- `settled`: what a run begins with, left out of garbage collection
- `rehearsal`: every compiled path once, before rows wait for it
- `playback`: rows of the past through the loop
- `retrace`: a journal run again: the same rows, the same intents
- `explain`: its executions beside the simulator's
"""
