"""Names of invented people, companies and towns; blanks are between them."""

GIVEN = (
    "Anna Björn Cäcilie Dörte Emil Françoise Günter Hanna Ivo Jürgen Käthe Lars Mathilde Niels Özlem Petra Quirin Renée"
    " Sören Tomasz Ulrike Valérie Wiebke Xaver Yvonne Zoë Agnieszka Benedikt Chloé Dominik Elif Frieda Gösta Henriette"
    " Ingrid Jonas Kateřina Leonie Miloš Nora Oskar Paul Ruben Saskia Thore Urs Vera Wolfgang Jörg Marlène"
)
SURNAMES = (
    "Ahrens Bäcker Clausen Drößler Ehlers Färber Größing Hövelmann Ihde Jäger Köhler Lüders Mühlbach Nørgaard Oßwald"
    " Päffgen Quast Rübsam Schönfeld Thießen Ullrich Vögele Wörner Zäuner Almqvist Brückner Čapek Dvořák Estève Fjeld"
    " Goñi Hägele Iversen Jansen Kowalczyk Lefèvre Møller Novák Olufsen Pöschl Rasmussen Straßer Tümmler Voß Weißgerber"
    " Zöllner Brömme Kjær Löwe Süßkind Grünewald Haßler Lütjens Meißner Röder Sträter Wächter Żak Öhlund Petit"
)
TOWNS = "Auental Birkenförde Dornweiler Eschenrode Falkenmoor Grünau-Süd Hohenlüttich Königsfurt Moosbrück Sandöhe"
COMPANIES = {  # by industry
    "joinery": ("Tischlerei {given} {name}", "{name} & Söhne Holzbau, {town}", 'Schreinerei "Am Tor" {name}, {town}'),
    "metalwork": ("Metallbau {given} {name}", "{name}, {other} & Partner", "Schlosserei {name} {town} e.K."),
    "landscaping": ("{given} {name} Gartenbau", "Grünwerk {name} GmbH, {town}", "{name} & {other} Landschaftsbau"),
    "garden centre": ("Gärtnerei {given} {name}", 'Pflanzenhof "{town}" {name}', "Baumschule {name} {town} KG"),
    "construction": ("{given} {name} Hochbau", "Bau {name} {town} GmbH & Co. KG", "Dachdeckerei {name}, {town}"),
    "facility management": ("Hausservice {given} {name}", "Objektdienst {name} {town}", "{name} Gebäudepflege, {town}"),
    "farm": ("Hof {given} {name}", "Obsthof {name}, {town}", "Imkerei {name} & {other}"),
    "school": ("Berufskolleg {given} {name}", "{name}-Schule {town}", "Lehrwerkstatt {name} {town} e.V."),
}
