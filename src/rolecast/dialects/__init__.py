"""How clients and servers of models talk."""
