"""What a scan is: files, bins, tools, findings, SARIF. Pure where it can be; imports no store and no cluster."""
