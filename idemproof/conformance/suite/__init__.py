"""The suite that judges persistence layers: what goes in, what is asked, what comes out."""
