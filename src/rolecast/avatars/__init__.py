"""Avatars: personal models, trained from a person's conversations, judged before they are served.

    exports, Neo4j --sources--> conversations --extraction--> examples --dataset--> scrubbed, split
                                                                                       |
    avatar/NAME <--serving-- versions <--gate-- evaluation <--export-- trained <--training

Each step is a folder with one way in; what passes between two steps are files (`places`), so that any of them can be
run by itself, looked at and done again. All of it runs in child processes and in the command line: the gateway imports
`serving` alone, and nothing heavy.
"""
