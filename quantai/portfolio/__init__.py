"""What is owned and what it made: exact books beside the compiled positions.

- `contracts`: what a price is worth under each kind of contract, in exact fractions
- `ledger`: one instrument's book: fills, fees in any currency, funding, settlement, expiry
"""
