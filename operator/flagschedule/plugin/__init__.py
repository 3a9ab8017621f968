"""The plugin `kubectl flagschedule`: a program of the people who use the kinds, on their machines.

It reads objects by kubectl and computes with the calendar of the domain. It needs neither operator nor database, and
of the domain only what needs no further library: its archive holds nothing but that, cronsim and tzdata.
"""
