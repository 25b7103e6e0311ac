# SPDX-License-Identifier: Apache-2.0
"""The race: all candidates in the real pipeline on this device, in the same rounds; the fastest inside the bound wins.

`race.race` runs it over `entrant.Entrant`s (`stands` makes them of engines and graphs) and gives a `result.RaceResult`.
"""
