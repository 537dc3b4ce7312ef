"""Topology before it hurts: what lies where and depends on what, in which order it starts, what a loss takes. Pure.

    machines     hosts and clusters' nodes, and what state lies on which of them
    needs        what each thing must have to start
    coldstart    the order in which a cloud that is off starts again; loops that only a person can break
    whatif       what is left when a zone, a host, a cell, … is gone
    capacity     what the control plane asks for as one virtual machine a component, and as pods

All is read from the cloud file and the catalogue: nobody is asked.
"""
