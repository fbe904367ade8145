"""Tools of MCP servers, which models call in a chat and the gateway runs.

`Toolbox` (`toolbox.py`) decides which servers a request is offered, and gives the play of such a chat
(`conversation.py`) on a `turn.stage.Stage`: the model is asked, what it calls is run, and it is asked again. The
connections to the servers are held by a process beside the gateway (`child.py`), because the SDK that speaks MCP is
heavy and what servers send is not to be trusted; both talk in the values of `wire.py`, as JSON over a unix socket.
"""
