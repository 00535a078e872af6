"""Services: what is promoted, run behind BentoML.

- `deployment`        what is served: one JSON file that every process of it reads
- `loop_process`      the process that trades, under a lease
- `supervisor`        starts it, watches it, starts it again
- `keys`              keys, roles, rates, and the log of who did what
- `guard`             what stands in front of every request
- `rest`              what can be asked and told over HTTP
- `measurements`      the metrics of the run
- `strategy_service`  the BentoML service around them
- `knowledge_service` the knowledge base and the tools
"""
