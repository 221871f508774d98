"""A service ⇄ its registration at a control plane."""
