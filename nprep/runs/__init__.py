"""What a run is: its settings, its protocol, and the folder of its blocks of trials."""
